//! Expositions and pushes, whatever is in them.

use model::Timestamp;

use super::{Format, Item, Kind, Parser, lint, series, strict};
use crate::Pushes;

/// The first byte says which format. What the stricter readers take the scraper takes too, and a push
/// that is refused leaves nothing behind.
pub fn exposition(input: &[u8]) {
    let Some((which, body)) = input.split_first() else {
        return;
    };
    let format = match which % 2 {
        0 => Format::Prometheus,
        _ => Format::OpenMetrics,
    };
    let read = read(body, format);
    if strict::check(body, format).is_ok() {
        assert_eq!(read, Ok(()), "strictly right");
    }
    if format == Format::Prometheus {
        let _ = lint::lint(body);
        let pushes = Pushes::default();
        let now = Timestamp::from_millis(1_700_000_000_000);
        if pushes.push("job/a", body, true, now).is_ok() {
            assert_eq!(read, Ok(()), "pushed");
            // The same again replaces it.
            assert_eq!(pushes.push("job/a", body, true, now), Ok(()));
        }
    }
}

fn read(body: &[u8], format: Format) -> Result<(), String> {
    for item in Parser::new(body, format).map_err(|e| e.to_string())? {
        if let Item::Sample(sample) = item.map_err(|e| e.to_string())? {
            let mut labels = series::parse(sample.series)?;
            series::normalise(Kind::Histogram, &mut labels);
            let labels = labels.build();
            for (name, value) in &labels {
                assert!(!name.is_empty() && !value.is_empty());
            }
        }
    }
    Ok(())
}
