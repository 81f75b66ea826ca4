//! `GET /metrics`: the same totals as text for Prometheus, behind the same access rules as everything else.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::ApiState;
use super::extract::Params;
use super::problem::Problem;
use crate::session::{SessionTotals, Share};
use crate::store::CommitLatency;

const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What one scrape sees.
#[derive(Debug)]
struct Snapshot {
    totals: SessionTotals,
    shares: Vec<Share>,
    subscribers: u64,
    store_bytes: u64,
    uptime: f64,
    commits: CommitLatency,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let mut sessions =
            encoder.encode_descriptor("wharf_sessions", "Sessions by agent and status", None, MetricType::Gauge)?;
        for share in &self.shares {
            let labels = [("agent", share.agent.as_str()), ("status", share.status.name())];
            sessions.encode_family(&labels)?.encode_gauge(&share.sessions)?;
        }
        let totals = &self.totals;
        let gauges = [
            ("wharf_queue_depth", "Prompts that wait", totals.queue_depth),
            ("wharf_active_work", "Turns that run and prompts that wait", totals.active_work),
            ("wharf_user_work", "The same without sessions that are labelled as automated", totals.user_work),
            ("wharf_subscribers", "Readers of live events", self.subscribers),
        ];
        for (name, help, value) in gauges {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
        }
        gauge(&mut encoder, "wharf_store", "What the store takes on the disk", &Unit::Bytes, self.store_bytes)?;
        let uptime = encoder.encode_descriptor(
            "wharf_uptime",
            "Time since the daemon started",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        );
        uptime?.encode_gauge(&self.uptime)?;
        let mut commits: MetricEncoder<'_> = encoder.encode_descriptor(
            "wharf_store_commit",
            "How long groups of writes took to become durable",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        let count = self.commits.buckets.iter().map(|(_, count)| count).sum();
        commits.encode_histogram::<[(&str, &str); 0]>(self.commits.sum, count, &self.commits.buckets, None)
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: &Unit,
    value: u64,
) -> Result<(), std::fmt::Error> {
    encoder.encode_descriptor(name, help, Some(unit), MetricType::Gauge)?.encode_gauge(&value)
}

/// Totals as text for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "health", responses(
    (status = 200, description = "OpenMetrics text", body = String,
     content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"),
))]
pub(super) async fn read(State(api): State<ApiState>, query: Params) -> Result<Response, Problem> {
    query.only(&[])?;
    let (totals, shares) = api.sessions.totals(None)?;
    let snapshot = Snapshot {
        totals,
        shares,
        subscribers: api.sessions.subscribers() as u64,
        store_bytes: api.sessions.disk_use().await?,
        uptime: api.sessions.uptime().as_secs_f64(),
        commits: api.sessions.commit_latency(),
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut body = String::new();
    text::encode(&mut body, &registry).map_err(|e| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", format!("the metrics can't be rendered: {e}"))
    })?;
    Ok(([(CONTENT_TYPE, TEXT)], body).into_response())
}
