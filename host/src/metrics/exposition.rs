//! Writes the metrics in the text format of Prometheus (OpenMetrics 1.0). It never counts anything itself.

use std::{fmt, sync::atomic::Ordering};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use super::{
    primitives::Histogram,
    process::Process,
    stats::{self, ACCOUNTS, DATABASE, EVENTS, EXTENSIONS, HTTP, PluginMetrics, REQUEST_LOG, RouteMetrics},
};
use crate::memory;

/// The media type of the text.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const MICROS_PER_SECOND: f64 = 1_000_000.0;

/// The values that are read when the metrics are requested.
#[derive(Debug)]
pub(super) struct Moment {
    /// The number of events waiting in the outbox.
    pub(super) outbox_backlog: Option<u64>,
    /// The number of nodes on the database.
    pub(super) nodes: usize,
    /// The process.
    pub(super) process: Process,
}

/// Writes all metrics.
pub(super) fn write(moment: Moment) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(moment));
    let mut written = String::new();
    text::encode(&mut written, &registry)?;
    Ok(written)
}

impl Collector for Moment {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        self.of_process(&mut families)?;
        of_http(&mut families)?;
        of_database(&mut families)?;
        of_plugins(&mut families)?;
        of_extensions(&mut families)?;
        self.of_events(&mut families)?;
        of_accounts(&mut families)?;
        of_request_log(&mut families)
    }
}

/// The labels of one row.
type Labels = Vec<(&'static str, &'static str)>;

/// Writes metric families, each with its help text.
struct Families<'e>(DescriptorEncoder<'e>);

impl Families<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        encoder.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Into<f64>) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        encoder.encode_gauge(&value.into())
    }

    fn counters(&mut self, name: &str, help: &str, rows: impl Iterator<Item = (Labels, u64)>) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in rows {
            encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    fn gauges(&mut self, name: &str, help: &str, rows: impl Iterator<Item = (Labels, i64)>) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in rows {
            encoder.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// Writes histograms, with values divided by `unit`. Empty ones are left out.
    fn histograms<'h>(
        &mut self,
        name: &str,
        help: &str,
        unit: f64,
        rows: impl Iterator<Item = (Labels, &'h Histogram)>,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, histogram) in rows {
            let counted = histogram.counted();
            let count = counted.buckets.iter().sum();
            if count == 0 {
                continue;
            }
            let bounds = histogram.bounds().iter().map(|bound| *bound as f64 / unit).chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(counted.buckets.iter().copied()).collect();
            let sum = counted.sum as f64 / unit;
            if labels.is_empty() {
                encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
            } else {
                encoder.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
            }
        }
        Ok(())
    }

    fn times<'h>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels, &'h Histogram)>,
    ) -> fmt::Result {
        self.histograms(name, help, MICROS_PER_SECOND, rows.into_iter())
    }
}

impl Moment {
    fn of_process(&self, families: &mut Families<'_>) -> fmt::Result {
        let process = &self.process;
        if let Some(bytes) = process.resident_bytes {
            families.gauge("process_resident_memory_bytes", "Memory that the process holds", bytes as f64)?;
        }
        if let Some(count) = process.open_fds {
            families.gauge("process_open_fds", "Open file descriptors", count as f64)?;
        }
        if let Some(seconds) = process.cpu_seconds {
            let help = "Processor time used";
            let mut encoder =
                families.0.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?;
            encoder.encode_counter::<NoLabelSet, _, u64>(&seconds, None)?;
        }
        let help = "When the process began, in seconds since 1970";
        families.gauge("process_start_time_seconds", help, process.started_at_seconds)?;
        let help = "Nodes that serve the database, as far as this one knows";
        families.gauge("tinybase_nodes", help, self.nodes as f64)?;
        let help = "What was built";
        let mut encoder = families.0.encode_descriptor("tinybase_build", help, None, MetricType::Info)?;
        encoder.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    }

    fn of_events(&self, families: &mut Families<'_>) -> fmt::Result {
        let help = "Events that were put before a listener";
        families.counter("tinybase_events_told", help, EVENTS.told.get())?;
        let help = "Events that were dropped since too many waited for their listener";
        families.counter("tinybase_events_dropped", help, EVENTS.dropped.get())?;
        if let Some(backlog) = self.outbox_backlog {
            let help = "Events that wait in the outbox, counted up to 100000";
            families.gauge("tinybase_outbox_backlog", help, backlog as f64)?;
        }
        Ok(())
    }
}

fn of_http(families: &mut Families<'_>) -> fmt::Result {
    let routes = stats::routes();
    let labels = |route: &RouteMetrics| vec![("method", route.method), ("route", route.pattern)];
    let answers = routes.iter().flat_map(|route| {
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(&route.answers);
        let counted = classes.map(|(class, counter)| (class, counter.get())).filter(|(_, count)| *count > 0);
        counted.map(move |(class, count)| {
            let mut labels = labels(route);
            labels.push(("status", class));
            (labels, count)
        })
    });
    families.counters("tinybase_http_requests", "Requests that were answered", answers)?;
    let times = routes.iter().map(|route| (labels(route), &route.times));
    let help = "Time from a request's head to its answer's head";
    families.times("tinybase_http_request_duration_seconds", help, times)?;
    let gauge = |gauge: i64| gauge as f64;
    let help = "Requests whose answer is not made yet";
    families.gauge("tinybase_http_requests_in_flight", help, gauge(HTTP.in_flight.get()))?;
    let help = "Open connections";
    families.gauge("tinybase_http_connections", help, gauge(HTTP.connections.get()))?;
    let help = "Bytes of request bodies in memory";
    families.gauge("tinybase_http_body_bytes", help, gauge(HTTP.body_bytes.get()))?;
    let help = "Bytes of answers in memory";
    families.gauge("tinybase_http_response_bytes", help, memory::held() as f64)?;
    let help = "Requests that were refused since too much was held in memory";
    families.counter("tinybase_http_overloaded", help, HTTP.overloaded.get())
}

fn of_database(families: &mut Families<'_>) -> fmt::Result {
    let none = Labels::new;
    let help = "Writes that wait for the writer";
    families.gauge("tinybase_db_write_queue", help, DATABASE.write_queue.get() as f64)?;
    let help = "Writes that were committed together";
    let groups = [(none(), &DATABASE.group_jobs)].into_iter();
    families.histograms("tinybase_db_group_jobs", help, 1.0, groups)?;
    let help = "Time of a commit, without its sync";
    families.times("tinybase_db_commit_duration_seconds", help, [(none(), &DATABASE.commit)])?;
    let help = "Time of a sync of the write-ahead log";
    families.times("tinybase_db_sync_duration_seconds", help, [(none(), &DATABASE.sync)])?;
    let reads = [("short", &DATABASE.reads_short), ("queued", &DATABASE.reads_queued)]
        .map(|(kind, times)| (vec![("kind", kind)], times));
    families.times("tinybase_db_read_duration_seconds", "Time of a read, without its wait", reads)?;
    let help = "Reads by key that had waited and went to PostgreSQL together";
    let groups = [(none(), &DATABASE.gathered)].into_iter();
    families.histograms("tinybase_db_gathered_reads", help, 1.0, groups)?;
    let help = "Pages of the write-ahead log after the last commit";
    families.gauge("tinybase_db_wal_pages", help, DATABASE.wal_pages.load(Ordering::Relaxed) as f64)?;
    let help = "How far this machine's clock is behind the times of what is stored";
    let behind = DATABASE.clock_behind_seconds.load(Ordering::Relaxed) as f64;
    families.gauge("tinybase_db_clock_behind_seconds", help, behind)?;
    families.counter("tinybase_db_busy", "Calls that were refused as busy", DATABASE.busy.get())?;
    let help = "Statements that took longer than their deadline";
    families.counter("tinybase_db_timeouts", help, DATABASE.timeouts.get())
}

fn of_plugins(families: &mut Families<'_>) -> fmt::Result {
    let plugins = stats::plugins();
    let kinds = |plugin: &'static PluginMetrics| {
        [("request", &plugin.requests), ("other", &plugin.other)]
            .map(|(kind, calls)| (vec![("plugin", plugin.name), ("kind", kind)], calls))
    };
    let calls = || plugins.iter().flat_map(|plugin| kinds(plugin));
    let times = calls().map(|(labels, calls)| (labels, &calls.times));
    families.times("tinybase_plugin_call_duration_seconds", "Time of an extension's calls", times)?;
    let errors = calls().map(|(labels, calls)| (labels, calls.errors.get()));
    let help = "Calls of an extension that failed through no fault of the caller's";
    families.counters("tinybase_plugin_errors", help, errors)?;
    let of_plugin = |plugin: &PluginMetrics| vec![("plugin", plugin.name)];
    let times = plugins.iter().map(|plugin| (of_plugin(plugin), &plugin.http.times));
    let help = "Time of an extension's requests to other servers";
    families.times("tinybase_plugin_http_duration_seconds", help, times)?;
    let errors = plugins.iter().map(|plugin| (of_plugin(plugin), plugin.http.errors.get()));
    let help = "Requests of an extension to other servers that got no answer";
    families.counters("tinybase_plugin_http_errors", help, errors)?;
    let panics = plugins.iter().map(|plugin| (vec![("plugin", plugin.name)], plugin.panics.get()));
    families.counters("tinybase_plugin_panics", "Calls of an extension that panicked", panics)?;
    let blocked = plugins.iter().map(|plugin| (of_plugin(plugin), plugin.blocked.get()));
    let help = "How often an extension began to block a thread";
    families.counters("tinybase_plugin_thread_blocks", help, blocked)?;
    let blocked = plugins.iter().map(|plugin| (of_plugin(plugin), plugin.blocked_threads.get()));
    families.gauges("tinybase_plugin_blocked_threads", "Threads that an extension blocks", blocked)?;
    let crashes = plugins.iter().map(|plugin| (of_plugin(plugin), plugin.crashes.get()));
    let help = "How often an extension took this server down within the 24 hours before its start";
    families.gauges("tinybase_plugin_crashes", help, crashes)
}

fn of_extensions(families: &mut Families<'_>) -> fmt::Result {
    let help = "Extensions that are enabled although a registry revoked them, as of the last look";
    families.gauge("tinybase_extensions_revoked", help, EXTENSIONS.revoked.load(Ordering::Relaxed) as f64)?;
    let help = "Extensions that were disabled since a registry revoked them";
    families.counter("tinybase_extensions_revoked_disabled", help, EXTENSIONS.disabled.get())?;
    let looks = [("done", &EXTENSIONS.audits), ("failed", &EXTENSIONS.audit_faults)];
    let looks = looks.map(|(outcome, counter)| (vec![("outcome", outcome)], counter.get()));
    let help = "Looks whether the registries revoked something that is installed";
    families.counters("tinybase_extensions_audits", help, looks.into_iter())
}

fn of_accounts(families: &mut Families<'_>) -> fmt::Result {
    let help = "Tokens that were found among those verified before";
    families.counter("tinybase_token_cache_hits", help, ACCOUNTS.token_hits.get())?;
    let help = "Tokens that had to be verified";
    families.counter("tinybase_token_cache_misses", help, ACCOUNTS.token_misses.get())?;
    let help = "Passwords that are being hashed or wait for it";
    families.gauge("tinybase_password_jobs", help, ACCOUNTS.password_jobs.get() as f64)
}

fn of_request_log(families: &mut Families<'_>) -> fmt::Result {
    let help = "Requests that were written to the request log";
    families.counter("tinybase_request_log_rows", help, REQUEST_LOG.rows.get())?;
    let help = "Requests that the request log had no room for, the sample of quick reads apart";
    families.counter("tinybase_request_log_dropped", help, REQUEST_LOG.dropped.get())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;

    use super::*;

    #[test]
    fn the_text_holds_what_was_counted() {
        let route = stats::route("GET", "/api/exposed/{id}");
        route.note(StatusCode::OK, Duration::from_micros(300));
        route.note(StatusCode::NOT_FOUND, Duration::from_millis(3));
        let plugin = stats::plugin("exposed");
        plugin.requests.note(Duration::from_micros(70), true);
        plugin.http.note(Duration::from_millis(70), true);
        plugin.blocked_threads.step(2);
        let text = write(Moment { outbox_backlog: Some(3), nodes: 2, process: Process::default() }).unwrap();
        for line in [
            r#"tinybase_http_requests_total{method="GET",route="/api/exposed/{id}",status="2xx"} 1"#,
            r#"tinybase_http_requests_total{method="GET",route="/api/exposed/{id}",status="4xx"} 1"#,
            r#"tinybase_http_request_duration_seconds_count{method="GET",route="/api/exposed/{id}"} 2"#,
            r#"tinybase_http_request_duration_seconds_bucket{le="0.0005",method="GET",route="/api/exposed/{id}"} 1"#,
            r#"tinybase_plugin_errors_total{plugin="exposed",kind="request"} 1"#,
            r#"tinybase_plugin_panics_total{plugin="exposed"} 0"#,
            r#"tinybase_plugin_blocked_threads{plugin="exposed"} 2"#,
            r#"tinybase_plugin_http_duration_seconds_count{plugin="exposed"} 1"#,
            r#"tinybase_plugin_http_errors_total{plugin="exposed"} 1"#,
            "tinybase_outbox_backlog 3.0",
            "tinybase_nodes 2.0",
            "tinybase_extensions_revoked 0.0",
            r#"tinybase_extensions_audits_total{outcome="failed"} 0"#,
            concat!(r#"tinybase_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
            "# TYPE tinybase_db_write_queue gauge",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
