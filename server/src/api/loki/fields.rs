//! `/detected_fields` and `/detected_field/{name}/values`: what the newest lines of a query have
//! besides their streams' labels.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use model::Direction;
use query::logql::eval::Value;
use query::logql::{self, DetectedField, Expr, LogQuery};

use super::query as queries;
use super::{Refused, axum_json, time};
use crate::api::params::Params;
use crate::api::prometheus::envelope::{ErrorType, Failure};
use crate::api::workshop::Client;
use crate::api::{Api, json};

/// Fields, or values, in one answer unless the client says how many; Loki's.
const LIMIT_DEFAULT: usize = 1000;
/// Lines looked at unless the client says how many; Loki's.
const LINES_DEFAULT: usize = 100;

pub(super) async fn fields(
    State(api): State<Api>,
    client: Client,
    params: Params,
) -> Result<Response, Refused> {
    detect(&api, &client, &params, None).await
}

pub(super) async fn values(
    State(api): State<Api>,
    client: Client,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, Refused> {
    detect(&api, &client, &params, Some(name)).await
}

/// The fields, or the values of one of them. Not wrapped in an envelope, as in Loki.
async fn detect(
    api: &Api,
    client: &Client,
    params: &Params,
    name: Option<String>,
) -> Result<Response, Refused> {
    let now = api.now();
    let (start_ns, end_ns) = time::range(params, now)?;
    let line_limit = params
        .get("line_limit")
        .map(queries::positive)
        .transpose()?;
    let line_limit = line_limit.unwrap_or(LINES_DEFAULT);
    // The name it once had.
    let limit = params.get("limit").or_else(|| params.get("field_limit"));
    let limit = limit.map(queries::positive).transpose()?;
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    time::step(params, (start_ns, end_ns))?;
    let text = params.get("query").unwrap_or("");
    let expr = logql::parse(text).map_err(|e| Refused::bad(e.to_string()))?;
    if !matches!(expr, Expr::Log(_)) {
        return Err(Refused::bad("only log selector is supported"));
    }
    queries::check_page(line_limit)?;
    let wanted = LogQuery {
        start_ns,
        end_ns,
        limit: line_limit,
        direction: Direction::Backward,
        interval_ns: 0,
        categorize: true,
    };
    let (expr, name) = (Arc::new(expr), Arc::new(name));
    let config = api.config();
    let (timeout, bytes_max) = (config.query.timeout.0, config.query_bytes_max());
    let (body, _) = api
        .read(client, timeout, move |reading| {
            let Expr::Log(expr) = &*expr else {
                return Ok(String::new());
            };
            let limits = queries::limits(reading);
            let done = logql::eval::log_query(expr, &*reading.parts.logs, &wanted, now, &limits)
                .map_err(queries::failure)?;
            if done.is_full && reading.bytes_max < bytes_max {
                let why = "the query needs more memory";
                return Err(Failure::new(ErrorType::Memory, why));
            }
            let Value::Streams(streams) = done.value else {
                return Ok(String::new());
            };
            let mut body = match &*name {
                None => fields_body(&logql::detect_fields(&streams, limit), limit),
                Some(name) => values_body(&logql::detect_values(&streams, name, limit), limit),
            };
            if !done.warnings.is_empty() && body.len() > 2 {
                body.pop();
                body.push_str(",\"warnings\":");
                json::array(&mut body, &done.warnings, |out, text| {
                    json::string(out, text);
                });
                body.push('}');
            }
            Ok(body)
        })
        .await?;
    Ok(axum_json(body))
}

fn fields_body(fields: &[DetectedField], limit: usize) -> String {
    if fields.is_empty() {
        return "{}".to_owned();
    }
    let mut out = String::from("{\"fields\":");
    json::array(&mut out, fields, |out, field| {
        out.push_str("{\"label\":");
        json::string(out, &field.name);
        let (kind, cardinality) = (field.kind.as_str(), field.cardinality);
        out.push_str(&format!(
            ",\"type\":\"{kind}\",\"cardinality\":{cardinality},\"parsers\":"
        ));
        match field.parsers.is_empty() {
            true => out.push_str("null"),
            false => json::array(out, &field.parsers, |out, p| json::string(out, p)),
        }
        if !field.json_path.is_empty() {
            out.push_str(",\"jsonPath\":");
            json::array(out, &field.json_path, |out, key| json::string(out, key));
        }
        out.push('}');
    });
    out.push_str(&format!(",\"limit\":{limit}}}"));
    out
}

fn values_body(values: &[String], limit: usize) -> String {
    if values.is_empty() {
        return "{}".to_owned();
    }
    let mut out = format!("{{\"limit\":{limit},\"values\":");
    json::array(&mut out, values, |out, value| json::string(out, value));
    out.push('}');
    out
}
