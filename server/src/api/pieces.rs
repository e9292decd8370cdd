//! A long answer, written in pieces: none is copied because it grew, each is freed once it is
//! sent, and between two of them the writer looks whether it is still wanted and still fits.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

use super::prometheus::envelope::{ErrorType, Failure};

/// A piece is full from this on.
const PIECE_BYTES: usize = 64 << 10;

/// What an answer may take while it is written.
#[derive(Clone, Copy)]
pub(crate) struct Room<'a> {
    /// Bytes of the answer.
    pub(crate) answer: usize,
    /// Bytes of the answer and of what is still to be written.
    pub(crate) together: usize,
    /// Set when nobody waits any more.
    pub(crate) cancel: &'a AtomicBool,
}

/// An answer; ends with what stands in `last`.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    full: VecDeque<Bytes>,
    full_bytes: usize,
    pub(crate) last: String,
}

impl Pieces {
    /// Bytes by now.
    pub(crate) fn len(&self) -> usize {
        self.full_bytes + self.last.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// To be called after each element, of which `left` bytes of them are still to be written.
    ///
    /// # Errors
    /// When nobody waits any more, or there is no room.
    pub(crate) fn settle(&mut self, left: usize, room: Room<'_>) -> Result<(), Failure> {
        if self.len() > room.answer || self.len().saturating_add(left) > room.together {
            return Err(Failure::new(
                ErrorType::Memory,
                format!(
                    "the answer exceeds {} KB (query.bytes_max): ask for less, or give a limit",
                    room.answer.min(room.together) >> 10
                ),
            ));
        }
        if self.last.len() >= PIECE_BYTES {
            if room.cancel.load(Ordering::Relaxed) {
                return Err(query::EvalError::Canceled.into());
            }
            let next = String::with_capacity(PIECE_BYTES + PIECE_BYTES / 8);
            let mut piece = std::mem::replace(&mut self.last, next);
            piece.shrink_to_fit();
            self.full_bytes += piece.len();
            self.full.push_back(piece.into());
        }
        Ok(())
    }

    /// A JSON list with one element per item, which has `bytes` until it is written.
    ///
    /// # Errors
    /// As [`Pieces::settle`].
    pub(crate) fn array<T>(
        &mut self,
        items: Vec<T>,
        room: Room<'_>,
        bytes: impl Fn(&T) -> usize,
        mut write: impl FnMut(&mut String, &T),
    ) -> Result<(), Failure> {
        let mut left: usize = items.iter().map(&bytes).sum();
        self.last.push('[');
        for (i, item) in items.into_iter().enumerate() {
            if i > 0 {
                self.last.push(',');
            }
            write(&mut self.last, &item);
            left = left.saturating_sub(bytes(&item));
            drop(item);
            self.settle(left, room)?;
        }
        self.last.push(']');
        Ok(())
    }

    /// `text` before all the rest.
    pub(crate) fn put_first(&mut self, text: &'static str) {
        if self.full.is_empty() {
            self.last.insert_str(0, text);
        } else {
            self.full_bytes += text.len();
            self.full.push_front(Bytes::from_static(text.as_bytes()));
        }
    }

    /// As one text.
    pub(crate) fn text(self) -> String {
        let mut whole = String::with_capacity(self.len());
        for piece in &self.full {
            whole.push_str(&String::from_utf8_lossy(piece));
        }
        whole.push_str(&self.last);
        whole
    }

    pub(crate) fn body(mut self) -> Body {
        if self.full.is_empty() {
            return Body::from(self.last);
        }
        self.full.push_back(self.last.into());
        Body::new(Rest(self.full))
    }
}

impl From<String> for Pieces {
    fn from(last: String) -> Pieces {
        Pieces {
            last,
            ..Pieces::default()
        }
    }
}

/// What has not been sent yet.
struct Rest(VecDeque<Bytes>);

impl HttpBody for Rest {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(room: usize, cancel: &AtomicBool) -> Result<Pieces, Failure> {
        let room = Room {
            answer: room,
            together: usize::MAX,
            cancel,
        };
        let mut pieces = Pieces::default();
        let items = vec!["x".repeat(1000); 300];
        pieces.array(items, room, String::len, |out, item| out.push_str(item))?;
        pieces.put_first("first ");
        Ok(pieces)
    }

    #[tokio::test]
    async fn pieces_arrive_as_one_text() {
        let pieces = written(usize::MAX, &AtomicBool::new(false)).unwrap();
        assert!(pieces.full.len() > 3);
        let length = pieces.len();
        let body = pieces.body();
        assert_eq!(body.size_hint().exact(), Some(length as u64));
        let text = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let items = vec!["x".repeat(1000); 300].join(",");
        assert_eq!(text, format!("first [{items}]"));
    }

    #[test]
    fn what_does_not_fit_or_is_not_wanted_ends_early() {
        let kind = |written: Result<Pieces, Failure>| written.unwrap_err().kind;
        assert_eq!(
            kind(written(5000, &AtomicBool::new(false))),
            ErrorType::Memory
        );
        let gone = AtomicBool::new(true);
        assert_eq!(kind(written(usize::MAX, &gone)), ErrorType::Canceled);
    }
}
