//! The language: text → tokens → expression, and back to normalised text.

pub mod ast;
pub mod duration;
pub mod error;
pub mod functions;
pub mod lexer;
pub mod parser;
pub mod pretty;
mod printer;
pub mod quote;
pub mod types;
