//! Reads that need more than a worker may use.

use std::sync::atomic::{AtomicUsize, Ordering};

use model::{Gap, ReadBounds};

use super::*;
use crate::api::workshop::Door;

/// What each series of the crowd says it takes.
const SERIES_BYTES: usize = 256;

/// So many series, all alike.
#[derive(Clone)]
struct Crowd {
    count: usize,
    asked: Arc<AtomicUsize>,
    bounds: ReadBounds,
}

impl SeriesReader for Crowd {
    fn select(&self, _: &Selection<'_>) -> Result<Selected, ReadError> {
        self.series(&[], TimeRange::ALL).map(|_| Vec::new().into())
    }

    fn series(&self, _: &[Vec<Matcher>], _: TimeRange) -> Result<Vec<Labels>, ReadError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.bounds.check(self.count * SERIES_BYTES)?;
        Ok(vec![Labels::from_pairs([("__name__", "up")]); self.count])
    }

    fn within(&self, bounds: ReadBounds) -> Option<Box<dyn SeriesReader>> {
        let bounded = Crowd {
            bounds,
            ..self.clone()
        };
        Some(Box::new(bounded))
    }
}

async fn crowd(count: usize) -> (Server, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let series = Crowd {
        count,
        asked: Arc::clone(&asked),
        bounds: ReadBounds::default(),
    };
    (Server::over(Arc::new(series)).await, asked)
}

/// More series than fit into `of` bytes by a few.
fn too_many_for(of: usize) -> usize {
    of / SERIES_BYTES + 10
}

#[tokio::test]
async fn what_is_too_large_for_a_worker_is_read_with_a_share_of_its_own() {
    let small = Server::starting().await.api.memory().small();
    let (server, asked) = crowd(too_many_for(small)).await;
    let (status, body) = server.get("/api/v1/label/__name__/values?match[]=up").await;
    assert_eq!(
        (status, body.as_str()),
        (200, r#"{"status":"success","data":["up"]}"#)
    );
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_answer_that_nobody_reads_leaves_the_rest_of_the_memory_to_others() {
    let small = Server::starting().await.api.memory().small();
    let (server, _) = crowd(too_many_for(small)).await;
    let memory = server.api.memory();
    let held = memory.largest() / 4;
    let share = memory.share(held, held, &Door::default()).await.unwrap();
    let _unread = share.held_by(axum::body::Body::from(vec![0; held]));
    let (status, body) = server.get("/api/v1/label/__name__/values?match[]=up").await;
    assert_eq!(
        (status, body.as_str()),
        (200, r#"{"status":"success","data":["up"]}"#)
    );
}

#[tokio::test]
async fn what_is_too_large_for_a_query_is_refused_by_the_settings_name() {
    let full = Server::starting().await.api.config().query_bytes_max();
    let (server, _) = crowd(too_many_for(full)).await;
    for path in [
        "/api/v1/query?query=up",
        "/api/v1/query_range?query=up&start=0&end=60&step=1",
        "/api/v1/series?match[]=up",
        "/api/v1/labels?match[]=up",
        "/api/v1/label/job/values?match[]=up",
        "/api/v1/status/tsdb",
        "/federate?match[]=up",
    ] {
        let (status, body) = server.get(path).await;
        assert_eq!(status, 422, "{path}: {body}");
        assert!(
            body.contains("more than query.bytes_max has room for"),
            "{path}: {body}"
        );
    }
}

/// A store of which a part is damaged.
struct Lacking(ReadBounds);

impl SeriesReader for Lacking {
    fn select(&self, selection: &Selection<'_>) -> Result<Selected, ReadError> {
        self.series(&[], selection.range).map(|_| Vec::new().into())
    }

    fn series(&self, _: &[Vec<Matcher>], _: TimeRange) -> Result<Vec<Labels>, ReadError> {
        let at = Timestamp::from_millis;
        let ranges = [None, Some(TimeRange::new(at(0), at(1_500)))];
        for (i, range) in ranges.into_iter().enumerate() {
            let what = format!("block {i} is gone");
            self.0.missing.as_ref().unwrap().note(Gap { what, range });
        }
        Ok(Vec::new())
    }

    fn within(&self, bounds: ReadBounds) -> Option<Box<dyn SeriesReader>> {
        Some(Box::new(Lacking(bounds)))
    }
}

#[tokio::test]
async fn what_an_answer_lacks_is_told_beside_it() {
    let server = Server::over(Arc::new(Lacking(ReadBounds::default()))).await;
    let expect = concat!(
        r#""warnings":["block 0 is gone: samples are missing, of what time is not known","#,
        r#""block 1 is gone: samples from 1970-01-01T00:00:00Z to 1970-01-01T00:00:01.5Z are missing"]"#,
    );
    for path in [
        "/api/v1/query?query=up%2Bup",
        "/api/v1/query_range?query=up&start=0&end=60&step=1",
        "/api/v1/series?match[]=up",
        "/api/v1/labels",
        "/api/v1/label/job/values?match[]=up",
    ] {
        let (status, body) = server.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        assert!(body.contains(expect), "{path}: {body}");
    }
}

#[tokio::test]
async fn a_selector_that_is_repeated_is_looked_up_once() {
    let server = Server::ready().await;
    let all = vec!["match[]=up"; 900].join("&");
    let (status, body) = server.get(&format!("/api/v1/series?{all}")).await;
    assert_eq!(status, 200);
    assert_eq!(body.matches("\"job\"").count(), 2);
    let many: Vec<String> = (0..1001).map(|i| format!("match[]=a{i}")).collect();
    let (status, body) = server.get(&format!("/federate?{}", many.join("&"))).await;
    assert_eq!(
        (status, body.trim()),
        (400, "more than 1000 selectors in match[]")
    );
}
