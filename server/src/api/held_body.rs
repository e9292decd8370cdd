//! Bodies of answers that hold something until they have been sent or given up.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

/// What a body holds.
pub(super) trait Hold: Send + Unpin + 'static {
    /// So many bytes are left to send, at the start and after each piece, where that is known.
    fn left(&mut self, _bytes: u64) {}
}

/// `body`, which drops `hold` with its own end.
pub(super) fn holding(body: Body, hold: impl Hold) -> Body {
    let mut held = HeldBody { body, hold };
    held.tell();
    Body::new(held)
}

struct HeldBody<H> {
    body: Body,
    hold: H,
}

impl<H: Hold> HeldBody<H> {
    fn tell(&mut self) {
        if let Some(left) = self.body.size_hint().exact() {
            self.hold.left(left);
        }
    }
}

impl<H: Hold> HttpBody for HeldBody<H> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_ready() {
            self.tell();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
