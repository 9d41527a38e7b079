use std::{collections::VecDeque, future::poll_fn};

use futures_util::FutureExt;
use remex_daemon::net::Caller;
use tokio::time::advance;
use tonic::Code;

use super::*;
use crate::grpc::peers::Peers;

/// A body that is fed by hand.
#[derive(Default)]
struct Fed {
    frames: VecDeque<Bytes>,
    ended: bool,
}

impl Body for Fed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.frames.pop_front() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None if self.ended => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.frames.is_empty()
    }
}

/// The beginning of a message.
fn part(length: u32) -> Bytes {
    [&[0][..], &length.to_be_bytes(), b"x"].concat().into()
}

fn rest(length: usize) -> Bytes {
    vec![b'x'; length - 1].into()
}

struct Bench {
    shared: SharedBudget,
    place: Place,
}

impl Bench {
    fn new() -> Self {
        let place = Peers::default().enter(&Caller::unix(1000)).unwrap();
        let shared = SharedBudget::default();
        Self { shared, place }
    }

    fn body(&self, streaming: bool) -> Metered<Fed> {
        let budget = self.shared.of_connection(&self.place);
        Metered::new(Fed::default(), budget, streaming)
    }

    fn taken(&self) -> usize {
        ALL_BYTES - self.shared.bytes.available_permits()
    }
}

type Polled = Option<Option<Result<Frame<Bytes>, BoxError>>>;

fn poll(body: &mut Metered<Fed>) -> Polled {
    poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).now_or_never()
}

fn feed(body: &mut Metered<Fed>, bytes: Bytes) -> Polled {
    body.body.frames.push_back(bytes);
    poll(body)
}

fn code(polled: Polled) -> Code {
    let error = polled.unwrap().unwrap().unwrap_err();
    Status::from_error(error).code()
}

const MIB: usize = 1024 * 1024;

/// The shortest message that a connection's own share is too small for.
const SMALLEST_SHARED: u32 = 32 * 1024 + 1;

#[test]
fn the_bounds_are_those_that_are_told() {
    assert_eq!(OWN_BYTES, 32 * 1024);
    assert_eq!(
        [CONNECTION_BYTES, PEER_BYTES, ALL_BYTES],
        [16 * MIB, 64 * MIB, 256 * MIB]
    );
    assert_eq!(WAITING_REQUESTS, 4096);
    assert_eq!(allowed(0), Duration::from_mins(1));
    // The largest message, at 16 KiB a second.
    assert_eq!(allowed(4 * MIB), Duration::from_secs(60 + 256));
}

#[tokio::test]
async fn a_message_counts_from_its_first_part_to_its_end() {
    let bench = Bench::new();
    let mut body = bench.body(true);
    assert!(feed(&mut body, part(u32::try_from(MIB).unwrap())).is_some());
    assert_eq!(bench.taken(), MIB);
    assert!(feed(&mut body, rest(MIB)).is_some());
    // Its reader asks for more, so it has it.
    assert!(poll(&mut body).is_none());
    assert_eq!(bench.taken(), 0);
    assert!(feed(&mut body, part(SMALLEST_SHARED)).is_some());
    assert_eq!(bench.taken(), SMALLEST_SHARED as usize);
    drop(body);
    assert_eq!(bench.taken(), 0);
}

#[tokio::test]
async fn a_call_of_one_message_counts_until_its_request_ends() {
    let bench = Bench::new();
    let mut body = bench.body(false);
    assert!(feed(&mut body, part(SMALLEST_SHARED)).is_some());
    assert!(feed(&mut body, rest(SMALLEST_SHARED as usize)).is_some());
    assert!(poll(&mut body).is_none());
    assert_eq!(bench.taken(), SMALLEST_SHARED as usize);
    // One that comes whole and at once takes nothing.
    let mut whole = bench.body(false);
    whole.body.ended = true;
    assert!(feed(&mut whole, part(1)).is_some());
    assert_eq!(bench.taken(), SMALLEST_SHARED as usize);
}

#[tokio::test]
async fn small_messages_of_a_connection_wait_for_no_other() {
    let bench = Bench::new();
    let longest = u32::try_from(MAX_REQUEST_BYTES).unwrap();
    let mut others: Vec<_> = (0..100).map(|_| bench.body(true)).collect();
    for body in &mut others {
        feed(body, part(longest));
    }
    assert_eq!(bench.taken(), PEER_BYTES);
    let budget = bench.shared.of_connection(&bench.place);
    let mut small: Vec<_> = (0..=OWN_BYTES / 1024)
        .map(|_| Metered::new(Fed::default(), budget.clone(), false))
        .collect();
    let passed = small.iter_mut().map(|body| feed(body, part(1024)));
    let passed: Vec<_> = passed.map(|polled| polled.is_some()).collect();
    assert_eq!(passed.iter().filter(|&&passed| passed).count(), 32);
    assert!(!passed[32]);
}

#[tokio::test]
async fn a_connection_a_peer_and_all_have_their_bounds() {
    let bench = Bench::new();
    let longest = u32::try_from(MAX_REQUEST_BYTES).unwrap();
    let budget = bench.shared.of_connection(&bench.place);
    let mut of_one: Vec<_> = (0..=CONNECTION_BYTES / MAX_REQUEST_BYTES)
        .map(|_| Metered::new(Fed::default(), budget.clone(), true))
        .collect();
    let passed: Vec<_> = of_one
        .iter_mut()
        .map(|body| feed(body, part(longest)).is_some())
        .collect();
    assert_eq!(passed, [true, true, true, true, false]);
    // The one that waits goes on when another ends, and its frame is not lost.
    of_one.remove(0);
    let frame = poll(&mut of_one[3]).unwrap().unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), part(longest));
    // Each further one is of a connection of its own.
    let mut further: Vec<_> = (0..100).map(|_| bench.body(true)).collect();
    for body in &mut further {
        feed(body, part(longest));
    }
    assert_eq!(bench.taken(), PEER_BYTES);
    drop((of_one, further));
    assert_eq!(bench.taken(), 0);
}

#[tokio::test]
async fn what_waits_is_bounded_too() {
    let bench = Bench::new();
    let longest = u32::try_from(MAX_REQUEST_BYTES).unwrap();
    let mut bodies: Vec<_> = (0..=PEER_BYTES / MAX_REQUEST_BYTES + WAITING_REQUESTS)
        .map(|_| bench.body(true))
        .collect();
    let last = bodies.len() - 1;
    for body in &mut bodies[..last] {
        feed(body, part(longest));
    }
    assert_eq!(
        code(feed(&mut bodies[last], part(longest))),
        Code::ResourceExhausted
    );
}

#[tokio::test(start_paused = true)]
async fn a_message_has_its_time_and_a_pause_between_two_has_none() {
    let bench = Bench::new();
    let mut body = bench.body(true);
    assert!(poll(&mut body).is_none());
    advance(MESSAGE_TIME / 2).await;
    assert!(feed(&mut body, part(1)).is_some());
    assert!(poll(&mut body).is_none());
    advance(MESSAGE_TIME * 10).await;
    assert!(poll(&mut body).is_none());
    assert!(feed(&mut body, part(2)).is_some());
    assert!(poll(&mut body).is_none());
    advance(MESSAGE_TIME).await;
    assert_eq!(code(poll(&mut body)), Code::DeadlineExceeded);
    // The first one, and the end of a call of one message.
    let mut first = bench.body(true);
    assert!(poll(&mut first).is_none());
    let mut whole = bench.body(false);
    assert!(feed(&mut whole, part(1)).is_some());
    assert!(poll(&mut whole).is_none());
    advance(MESSAGE_TIME).await;
    assert_eq!(code(poll(&mut first)), Code::DeadlineExceeded);
    assert_eq!(code(poll(&mut whole)), Code::DeadlineExceeded);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_message_counts_only_while_it_is_read() {
    let bench = Bench::new();
    let mut body = bench.body(true);
    assert!(feed(&mut body, part(3)).is_some());
    assert!(poll(&mut body).is_none());
    // Nobody reads for long; then it is waited for anew.
    advance(MESSAGE_TIME * 10).await;
    assert!(poll(&mut body).is_none());
    advance(MESSAGE_TIME / 2).await;
    assert!(feed(&mut body, b"x"[..].into()).is_some());
    assert!(poll(&mut body).is_none());
    advance(MESSAGE_TIME / 2).await;
    assert_eq!(code(poll(&mut body)), Code::DeadlineExceeded);
}

#[tokio::test]
async fn what_is_small_is_taken_in_hand_while_it_waits_and_comes_out_in_order() {
    let bench = Bench::new();
    let all = Arc::clone(&bench.shared.bytes);
    let held = all.try_acquire_many_owned(u32::try_from(ALL_BYTES).unwrap());
    let mut body = bench.body(false);
    assert!(feed(&mut body, part(4 * SMALLEST_SHARED)).is_none());
    let in_hand = IN_HAND_BYTES - part(0).len();
    let bytes: Vec<u8> = (0..=250).cycle().take(in_hand + 3).collect();
    let small = bytes.chunks(1).map(Bytes::copy_from_slice);
    body.body.frames.extend(small);
    assert!(poll(&mut body).is_none());
    assert_eq!(body.body.frames.len(), 3);
    let in_hand_of_all = || ALL_IN_HAND_BYTES - bench.shared.in_hand.available_permits();
    assert_eq!(in_hand_of_all(), in_hand);
    drop(held);
    let data = |polled: Polled| polled.unwrap().unwrap().unwrap().into_data().unwrap();
    let first = data(poll(&mut body));
    assert_eq!(
        first,
        [&part(4 * SMALLEST_SHARED), &bytes[..in_hand]].concat()
    );
    assert_eq!(in_hand_of_all(), 0);
    for byte in &bytes[in_hand..] {
        assert_eq!(data(poll(&mut body)), [*byte][..]);
    }
    assert!(poll(&mut body).is_none());
}

#[tokio::test]
async fn the_end_of_what_waits_is_told_behind_it() {
    let bench = Bench::new();
    let all = Arc::clone(&bench.shared.bytes);
    let held = all.try_acquire_many_owned(u32::try_from(ALL_BYTES).unwrap());
    let mut body = bench.body(true);
    assert!(feed(&mut body, part(SMALLEST_SHARED)).is_none());
    body.body.ended = true;
    assert!(feed(&mut body, Bytes::from_static(b"yz")).is_none());
    assert!(!body.is_end_stream());
    drop(held);
    let first = poll(&mut body).unwrap().unwrap().unwrap();
    assert!(first.into_data().unwrap().ends_with(b"xyz"));
    assert!(poll(&mut body).unwrap().is_none());
    assert!(body.is_end_stream());
}

#[tokio::test]
async fn what_all_have_in_hand_has_its_bound() {
    let bench = Bench::new();
    let all = Arc::clone(&bench.shared.bytes);
    let _held = all.try_acquire_many_owned(u32::try_from(ALL_BYTES).unwrap());
    let frame = WIDE_FRAME_BYTES as usize;
    let mut waiting = Vec::new();
    for _ in 0..ALL_IN_HAND_BYTES / frame {
        let mut body = bench.body(true);
        assert!(feed(&mut body, part(4 * WIDE_FRAME_BYTES)).is_none());
        assert!(feed(&mut body, vec![b'x'; frame].into()).is_none());
        assert!(body.body.frames.is_empty());
        waiting.push(body);
    }
    let mut body = bench.body(true);
    assert!(feed(&mut body, part(4 * WIDE_FRAME_BYTES)).is_none());
    assert!(feed(&mut body, vec![b'x'].into()).is_none());
    assert_eq!(body.body.frames.len(), 1);
    waiting.pop();
    assert!(poll(&mut body).is_none());
    assert!(body.body.frames.is_empty());
}
