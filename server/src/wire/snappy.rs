//! Snappy's block format, with the decoded size known before anything is allocated.

/// Largest decoded request, in bytes; Prometheus refuses more as well.
pub(crate) const DECODED_BYTES_MAX: usize = 32 << 20;

/// Why a body is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SnappyError {
    /// The block says it decodes to more than [`DECODED_BYTES_MAX`].
    #[error(
        "snappy: decoded block of {bytes} bytes is larger than the limit of {DECODED_BYTES_MAX} bytes"
    )]
    TooLarge {
        /// What it says.
        bytes: u64,
    },
    /// It is no block.
    #[error("snappy: corrupt input")]
    Corrupt,
}

/// The decoded block.
///
/// # Errors
/// When it is corrupt or would be too large.
pub(crate) fn decode(block: &[u8]) -> Result<Vec<u8>, SnappyError> {
    let bytes = match snap::raw::decompress_len(block) {
        Ok(bytes) => bytes as u64,
        Err(snap::Error::TooBig { given, .. }) => given,
        Err(_) => return Err(SnappyError::Corrupt),
    };
    if bytes > DECODED_BYTES_MAX as u64 {
        return Err(SnappyError::TooLarge { bytes });
    }
    // Three bytes of a copy give at most 64 decoded ones, so a short block cannot claim much.
    if bytes > block.len() as u64 * 64 {
        return Err(SnappyError::Corrupt);
    }
    snap::raw::Decoder::new()
        .decompress_vec(block)
        .map_err(|_| SnappyError::Corrupt)
}

/// One block that decodes to `bytes`.
pub(crate) fn encode(bytes: &[u8]) -> Result<Vec<u8>, snap::Error> {
    snap::raw::Encoder::new().compress_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_block_that_claims_gigabytes_costs_nothing() {
        // 4 GiB - 1 in the header, nothing behind it.
        let claims = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        assert_eq!(
            decode(&claims),
            Err(SnappyError::TooLarge { bytes: 0xffff_ffff })
        );
        // 16 MiB, within the limit, of six bytes.
        assert_eq!(
            decode(&[0x80, 0x80, 0x80, 0x08, 0, 0]),
            Err(SnappyError::Corrupt)
        );
        let bomb = encode(&vec![0; DECODED_BYTES_MAX + 1]).unwrap();
        assert!(bomb.len() < 4 << 20);
        assert!(matches!(decode(&bomb), Err(SnappyError::TooLarge { .. })));
        assert_eq!(decode(&[]), Err(SnappyError::Corrupt));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
            prop_assert_eq!(decode(&encode(&bytes).unwrap()), Ok(bytes));
        }
    }
}
