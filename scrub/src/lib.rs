//! Raw log line in, scrubbed line out.
