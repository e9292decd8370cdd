//! Scripts that load series and check evaluations.
