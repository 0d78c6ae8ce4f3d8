//! What is measured at the doors of a holder has in common: where it runs, and how long things took.

#![allow(dead_code, reason = "each example uses its part")]

use std::path::PathBuf;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

/// As many threads as a holder gives its doors.
const DOORS: usize = 2;

/// A runtime of its own, so that what asks and what answers share cores and nothing else.
pub(crate) fn runtime(name: &str) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(DOORS).thread_name(name).enable_all().build().expect("threads")
}

/// What the command line asks for.
pub(crate) struct Asked {
    /// Once round, to see that it works: its figures say nothing.
    pub(crate) quick: bool,
    /// Only with so many clients, for whoever looks where time goes.
    pub(crate) clients: Option<usize>,
    /// A folder on the disk that is measured; made, and removed afterwards.
    pub(crate) folder: PathBuf,
}

impl Asked {
    pub(crate) fn read(name: &str) -> Asked {
        let mut asked = Asked { quick: false, clients: None, folder: std::env::temp_dir() };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--quick" => asked.quick = true,
                "--clients" => asked.clients = words.next().and_then(|number| number.parse().ok()),
                folder => asked.folder = PathBuf::from(folder),
            }
        }
        asked.folder.push(format!("eparch-{name}-{}", std::process::id()));
        asked
    }
}

/// How long things took, to three digits.
pub(crate) struct Took(Histogram<u64>);

impl Default for Took {
    fn default() -> Took {
        Took(Histogram::new(3).expect("three digits are fine"))
    }
}

impl Took {
    pub(crate) fn add(&mut self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).expect("nothing here takes centuries");
        self.0.record(nanos).expect("a histogram that grows");
    }

    pub(crate) fn merge(&mut self, other: &Took) {
        self.0.add(&other.0).expect("a histogram that grows");
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that so large a share of them took at most, in microseconds to a tenth.
    pub(crate) fn micros(&self, share: f64) -> f64 {
        let nanos = Duration::from_nanos(self.0.value_at_quantile(share));
        (nanos.as_secs_f64() * 1e7).round() / 10.0
    }

    /// The fields of a line, each name with a word before it.
    pub(crate) fn fields(&self, before: &str) -> Value {
        json!({
            format!("{before}p50_us"): self.micros(0.5),
            format!("{before}p99_us"): self.micros(0.99),
            format!("{before}p999_us"): self.micros(0.999),
        })
    }
}

/// Puts the fields of several objects into one.
pub(crate) fn line(parts: &[Value]) -> Value {
    let fields = parts.iter().flat_map(|part| part.as_object().cloned().unwrap_or_default());
    Value::Object(fields.collect())
}
