//! The way of spans to the collector: a queue with a bound, and a task that sends batches of it. What finds the queue full is
//! dropped, and counted, and so is a batch that the collector does not take.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry::Context;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanExporter, SpanProcessor},
};
use remex_daemon::logging::LineLimit;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// Spans that wait to be sent; further ones are dropped.
const QUEUE_SPANS: usize = 2048;

/// The most spans of one message.
const BATCH_SPANS: usize = 512;

/// How long the first span of a message waits for others.
const BATCH_DELAY: Duration = Duration::from_secs(1);

/// A collector that has not answered for so long does not.
const EXPORT_BOUND: Duration = Duration::from_secs(10);

/// How often a batch is sent, if it is not taken.
const ATTEMPTS: u32 = 4;

/// The pause before it is sent again; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// What became of spans. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct SpanCounts(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    exported: AtomicU64,
    dropped: AtomicU64,
    lines: LineLimit,
}

impl SpanCounts {
    pub(super) fn exported(&self) -> u64 {
        self.0.exported.load(Ordering::Relaxed)
    }

    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    fn drop_spans(&self, spans: usize, why: &dyn fmt::Display) {
        let dropped = self.0.dropped.fetch_add(spans as u64, Ordering::Relaxed) + spans as u64;
        if self.0.lines.count().is_some() {
            tracing::warn!(dropped, %why, "spans were dropped");
        }
    }
}

/// Where spans go when they end.
pub(super) struct SpanQueue {
    queue: mpsc::Sender<SpanData>,
    counts: SpanCounts,
}

impl fmt::Debug for SpanQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanQueue").finish_non_exhaustive()
    }
}

impl SpanProcessor for SpanQueue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.queue.try_send(span).is_err() {
            self.counts
                .drop_spans(1, &"the collector is slower than they come");
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The task that sends.
#[derive(Debug)]
pub(super) struct Exporting {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Exporting {
    /// Sends by `exporter`, in the name of `resource`, what goes into the queue.
    pub(super) fn begin(
        mut exporter: impl SpanExporter + 'static,
        resource: &Resource,
        counts: &SpanCounts,
    ) -> (SpanQueue, Self) {
        exporter.set_resource(resource);
        let (queue, waiting) = mpsc::channel(QUEUE_SPANS);
        let stop = CancellationToken::new();
        let task = Task {
            exporter,
            waiting,
            stop: stop.clone(),
            counts: counts.clone(),
        };
        let exporting = Self {
            task: tokio::spawn(task.run()),
            stop,
        };
        let queue = SpanQueue {
            queue,
            counts: counts.clone(),
        };
        (queue, exporting)
    }

    /// Takes nothing more, and sends what is left for so long at most; `false`: it was longer.
    pub(super) async fn finish(mut self, patience: Duration) -> bool {
        self.stop.cancel();
        if timeout(patience, &mut self.task).await.is_ok() {
            return true;
        }
        self.task.abort();
        false
    }
}

struct Task<E> {
    exporter: E,
    waiting: mpsc::Receiver<SpanData>,
    stop: CancellationToken,
    counts: SpanCounts,
}

impl<E: SpanExporter> Task<E> {
    async fn run(mut self) {
        loop {
            let batch = self.collect().await;
            if batch.is_empty() {
                return;
            }
            self.send(batch).await;
        }
    }

    /// The next batch: as many as are there a moment after its first, or all that were left; none: that was all.
    async fn collect(&mut self) -> Vec<SpanData> {
        let mut batch = Vec::new();
        let mut deadline = None;
        while batch.len() < BATCH_SPANS {
            let is_stopped = self.waiting.is_closed();
            let room = BATCH_SPANS - batch.len();
            tokio::select! {
                received = self.waiting.recv_many(&mut batch, room) => {
                    if received == 0 {
                        break;
                    }
                    deadline.get_or_insert_with(|| Instant::now() + BATCH_DELAY);
                }
                () = self.stop.cancelled(), if !is_stopped => self.waiting.close(),
                () = until(deadline) => break,
            }
        }
        batch
    }

    /// Sends it as often as it takes, within bounds.
    async fn send(&self, batch: Vec<SpanData>) {
        let spans = batch.len();
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let why = match timeout(EXPORT_BOUND, self.exporter.export(batch.clone())).await {
                Ok(Ok(())) => {
                    self.counts
                        .0
                        .exported
                        .fetch_add(spans as u64, Ordering::Relaxed);
                    return;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the collector does not answer".to_owned(),
            };
            if attempt == ATTEMPTS || self.stop.is_cancelled() {
                self.counts.drop_spans(spans, &why);
                return;
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.stop.cancelled() => {}
            }
            pause *= 2;
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use opentelemetry::trace::{Span as _, Tracer, TracerProvider};
    use opentelemetry_sdk::{
        error::OTelSdkError,
        trace::{SdkTracer, SdkTracerProvider},
    };

    use super::*;

    /// What a collector says to a batch of so many spans; `None`: nothing.
    type Answer = fn() -> Option<OTelSdkResult>;

    #[derive(Debug, Clone)]
    struct Collector {
        answer: Answer,
        batches: Arc<Mutex<Vec<usize>>>,
    }

    impl SpanExporter for Collector {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.batches.lock().unwrap().push(batch.len());
            match (self.answer)() {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
    }

    struct Site {
        tracer: SdkTracer,
        exporting: Exporting,
        counts: SpanCounts,
        batches: Arc<Mutex<Vec<usize>>>,
    }

    fn site(answer: Answer) -> Site {
        let batches = Arc::<Mutex<Vec<usize>>>::default();
        let collector = Collector {
            answer,
            batches: Arc::clone(&batches),
        };
        let counts = SpanCounts::default();
        let resource = Resource::builder_empty().build();
        let (queue, exporting) = Exporting::begin(collector, &resource, &counts);
        let provider = SdkTracerProvider::builder().with_span_processor(queue);
        Site {
            tracer: provider.build().tracer("test"),
            exporting,
            counts,
            batches,
        }
    }

    impl Site {
        fn spans(&self, number: usize) {
            for _ in 0..number {
                self.tracer.start("span").end();
            }
        }

        fn batches(&self) -> Vec<usize> {
            self.batches.lock().unwrap().clone()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn everything_is_sent_in_batches_and_the_rest_at_the_end() {
        let site = site(|| Some(Ok(())));
        site.spans(BATCH_SPANS + 1);
        // Until the batch that is not full has waited for others.
        sleep(BATCH_DELAY * 2).await;
        assert_eq!(site.batches(), [BATCH_SPANS, 1]);
        site.spans(QUEUE_SPANS);
        let (batches, counts) = (Arc::clone(&site.batches), site.counts.clone());
        assert!(site.exporting.finish(EXPORT_BOUND).await);
        assert_eq!(
            batches.lock().unwrap().iter().sum::<usize>(),
            1 + BATCH_SPANS + QUEUE_SPANS
        );
        let all = (1 + BATCH_SPANS + QUEUE_SPANS) as u64;
        assert_eq!((counts.exported(), counts.dropped()), (all, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_does_not_answer_costs_what_does_not_fit_and_no_time() {
        let site = site(|| None);
        site.spans(BATCH_SPANS);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(site.batches(), [BATCH_SPANS]);
        // That batch is on its way; these wait.
        site.spans(QUEUE_SPANS);
        assert_eq!(site.counts.dropped(), 0);
        site.spans(1);
        assert_eq!(site.counts.dropped(), 1);
        let begun = Instant::now();
        let patience = Duration::from_millis(150);
        assert!(!site.exporting.finish(patience).await);
        assert!(begun.elapsed() < 2 * patience);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_is_not_taken_is_sent_again_and_dropped_in_the_end() {
        let site = site(|| Some(Err(OTelSdkError::InternalFailure("no".to_owned()))));
        site.spans(3);
        sleep(EXPORT_BOUND * 2).await;
        assert_eq!(site.batches(), [3; ATTEMPTS as usize]);
        assert_eq!((site.counts.exported(), site.counts.dropped()), (0, 3));
        // What comes next is tried for itself, and at the end but once.
        site.spans(2);
        let (batches, counts) = (Arc::clone(&site.batches), site.counts.clone());
        assert!(site.exporting.finish(EXPORT_BOUND).await);
        assert_eq!(batches.lock().unwrap().last(), Some(&2));
        assert_eq!(counts.dropped(), 5);
    }
}
