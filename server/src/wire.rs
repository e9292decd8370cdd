//! Bytes that other monitoring systems send and expect: protobuf messages, snappy blocks.
//!
//! Decoders are our own and borrow from the request: a remote write of 2,000 samples would cost
//! a generated decoder 20,000 small allocations. None of them allocates on the word of a length
//! it has not checked against the bytes that are there.

pub(crate) mod exposition;
pub(crate) mod histogram;
pub(crate) mod loki_push;
pub(crate) mod otlp;
pub(crate) mod remote_read;
pub(crate) mod remote_write;
pub(crate) mod snappy;
pub(crate) mod xor_chunk;

pub(crate) use ::protobuf;
