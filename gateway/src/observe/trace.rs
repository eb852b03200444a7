//! The bridge from `tracing` to the log: what rooms and libraries say in passing, beside the events.
//!
//! Gets: `tracing` events and the fields of the spans around them. Gives: lines of the same form as those of events.
//! Never: a global state of its own; levels are those of the [`LogHandle`]. Libraries are heard from `warn` on, unless their level is named.
//! A span that carries a session's id is made with `error_span!`: below the highest level that is logged at all, spans do not exist.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::LogLevel;
use super::log::LogHandle;

/// A layer that writes to the log.
pub(super) struct Bridge(pub(super) LogHandle);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Bridge {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        // A span says nothing by itself; the lines within it may be wanted whatever its own level is.
        metadata.is_span() || level(*metadata.level()) <= self.allowed(metadata.target())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(filter(self.0.level(None)))
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.inherit(outer);
            }
        }
        self.write(event.metadata(), &fields);
    }
}

impl Bridge {
    fn allowed(&self, target: &str) -> LogLevel {
        let room = room(target);
        let allowed = self.0.level(Some(room));
        let ours = target.starts_with(OURS);
        let named = allowed != self.0.level(Some(""));
        if ours || named { allowed } else { allowed.min(LogLevel::Warn) }
    }

    fn write(&self, metadata: &Metadata<'_>, fields: &Fields) {
        let session = fields.text(SESSION);
        let session = session.as_ref().map(|session| session as &dyn fmt::Display);
        let message = fields.text(MESSAGE).unwrap_or_default();
        let mut line = self.0.line(level(*metadata.level()), room(metadata.target()), session, &message);
        for (name, value) in &fields.0 {
            let renamed = format!("field_{name}");
            let name = if RESERVED.contains(name) { &renamed } else { *name };
            match value {
                _ if name == SESSION || name == MESSAGE => {}
                Value::Literal(value) => line.literal(name, value),
                Value::Text(value) => line.text(name, value),
            }
        }
        self.0.write(line);
    }
}

/// Fields of an event or a span, in their order, each name once.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

#[derive(Clone)]
enum Value {
    /// A number, `true` or `false`.
    Literal(String),
    Text(String),
}

impl Fields {
    fn set(&mut self, field: &Field, value: Value) {
        match self.0.iter_mut().find(|(name, _)| *name == field.name()) {
            Some((_, old)) => *old = value,
            None => self.0.push((field.name(), value)),
        }
    }

    /// Takes what an outer span says and this one does not.
    fn inherit(&mut self, outer: &Self) {
        for (name, value) in &outer.0 {
            if !self.0.iter().any(|(own, _)| own == name) {
                self.0.push((name, value.clone()));
            }
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        let (_, value) = self.0.iter().find(|(own, _)| *own == name)?;
        match value {
            Value::Literal(value) | Value::Text(value) => Some(value.clone()),
        }
    }
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, Value::Literal(value.to_string()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, Value::Literal(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, Value::Literal(value.to_string()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON knows neither NaN nor infinity.
        self.set(field, if value.is_finite() { Value::Literal(value.to_string()) } else { Value::Text(value.to_string()) });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, Value::Text(value.to_owned()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.set(field, Value::Text(value.to_string()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, Value::Text(format!("{value:?}")));
    }
}

/// The room of a target: `ftps_gateway::tls::tickets` is `tls`, `ftps_store::seal` is `store`; of a library, its name.
fn room(target: &str) -> &str {
    let mut parts = target.split("::");
    let first = parts.next().unwrap_or(target);
    match first {
        "ftps_gateway" => parts.next().unwrap_or("node"),
        ours => ours.strip_prefix(OURS).unwrap_or(ours),
    }
}

fn level(level: tracing::Level) -> LogLevel {
    match level {
        tracing::Level::ERROR => LogLevel::Error,
        tracing::Level::WARN => LogLevel::Warn,
        tracing::Level::INFO => LogLevel::Info,
        tracing::Level::DEBUG => LogLevel::Debug,
        tracing::Level::TRACE => LogLevel::Trace,
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// How the names of our crates begin.
const OURS: &str = "ftps_";
const SESSION: &str = "session";
const MESSAGE: &str = "message";
/// Names that every line has already.
const RESERVED: [&str; 3] = ["time", "level", "room"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_named_as_in_the_configuration() {
        assert_eq!(room("ftps_gateway::tls::tickets"), "tls");
        assert_eq!(room("ftps_gateway"), "node");
        assert_eq!(room("ftps_store::seal"), "store");
        assert_eq!(room("hyper::proto::h1"), "hyper");
    }
}
