//! The way to the driver: bounded, for many senders and one receiver, with a lane for what must not wait. Whoever takes authority
//! away does not stand behind those they take it from.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

/// Out of the first lane go at most so many in a row while somebody waits in the other.
const FIRST_IN_A_ROW: u32 = 64;

/// Which way something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Before everything in the other lane.
    First,
    /// In its turn.
    InTurn,
}

/// What the receiver got.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken<T, B> {
    /// The next.
    One(T),
    /// An answer to the receiver.
    Back(B),
    /// Nothing came in time.
    Nothing,
    /// Nothing will come any more.
    Over,
}

/// Why something was not sent; it is handed back.
enum Unsent<T> {
    Full(T),
    Over(T),
}

struct Shared<T, B> {
    lanes: Mutex<Lanes<T, B>>,
    came: Condvar,
    /// Whoever waits for room on a thread of their own.
    room: Condvar,
    /// Whoever waits for room in async code: no thread waits for them.
    room_async: Notify,
    /// Of each lane.
    capacity: usize,
}

struct Lanes<T, B> {
    back: VecDeque<B>,
    first: VecDeque<T>,
    in_turn: VecDeque<T>,
    /// How many came out of the first lane since one came out of the other.
    in_a_row: u32,
    senders: usize,
    /// The receiver waits for something to come. Only then it is woken: that is a call to the system, also when nobody waits.
    waits: bool,
    /// Nobody takes anything any more.
    closed: bool,
}

impl<T, B> Lanes<T, B> {
    fn lane(&mut self, lane: Lane) -> &mut VecDeque<T> {
        match lane {
            Lane::First => &mut self.first,
            Lane::InTurn => &mut self.in_turn,
        }
    }

    /// The next, and whether its lane was full.
    fn next(&mut self, capacity: usize) -> Option<(T, bool)> {
        let first = !self.first.is_empty() && (self.in_turn.is_empty() || self.in_a_row < FIRST_IN_A_ROW);
        self.in_a_row = if first { self.in_a_row.saturating_add(1) } else { 0 };
        let lane = self.lane(if first { Lane::First } else { Lane::InTurn });
        let was_full = lane.len() >= capacity;
        lane.pop_front().map(|next| (next, was_full))
    }
}

impl<T, B> Shared<T, B> {
    fn lanes(&self) -> MutexGuard<'_, Lanes<T, B>> {
        // Nothing here can panic while it holds the lock.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_send(&self, lane: Lane, message: T) -> Result<(), Unsent<T>> {
        let mut lanes = self.lanes();
        if lanes.closed {
            return Err(Unsent::Over(message));
        }
        if lanes.lane(lane).len() >= self.capacity {
            return Err(Unsent::Full(message));
        }
        lanes.lane(lane).push_back(message);
        self.something_came(lanes);
        Ok(())
    }

    /// Wakes the receiver, if it waits and nobody has woken it yet.
    fn something_came(&self, mut lanes: MutexGuard<'_, Lanes<T, B>>) {
        let waits = std::mem::take(&mut lanes.waits);
        drop(lanes);
        if waits {
            self.came.notify_one();
        }
    }

    fn made_room(&self) {
        self.room.notify_all();
        self.room_async.notify_waiters();
    }
}

/// The way back of what the receiver has asked for: before everything else, and nobody who answers waits. There are as many answers
/// as it has asked for. It keeps no receiver waiting for senders that have gone.
pub(super) struct Back<T, B>(Arc<Shared<T, B>>);

impl<T, B> Back<T, B> {
    pub(super) fn send(&self, answer: B) {
        let mut lanes = self.0.lanes();
        if !lanes.closed {
            lanes.back.push_back(answer);
        }
        self.0.something_came(lanes);
    }
}

/// The senders' end.
pub(super) struct Outbox<T, B>(Arc<Shared<T, B>>);

impl<T, B> Clone for Outbox<T, B> {
    fn clone(&self) -> Self {
        self.0.lanes().senders += 1;
        Outbox(self.0.clone())
    }
}

impl<T, B> Drop for Outbox<T, B> {
    fn drop(&mut self) {
        let mut lanes = self.0.lanes();
        lanes.senders -= 1;
        self.0.something_came(lanes);
    }
}

impl<T, B> Outbox<T, B> {
    /// Sends, waiting for room as long as it takes. Hands the message back when nobody will take it.
    pub(super) fn send(&self, lane: Lane, message: T) -> Result<(), T> {
        let mut lanes = self.0.lanes();
        while !lanes.closed && lanes.lane(lane).len() >= self.0.capacity {
            lanes = self.0.room.wait(lanes).unwrap_or_else(PoisonError::into_inner);
        }
        if lanes.closed {
            return Err(message);
        }
        lanes.lane(lane).push_back(message);
        self.0.something_came(lanes);
        Ok(())
    }

    /// [`Outbox::send`] for async code: nothing waits but the caller.
    pub(super) async fn send_async(&self, lane: Lane, mut message: T) -> Result<(), T> {
        let mut listening = None;
        loop {
            match self.0.try_send(lane, message) {
                Ok(()) => return Ok(()),
                Err(Unsent::Over(back)) => return Err(back),
                Err(Unsent::Full(back)) => message = back,
            }
            match listening.take() {
                // Before it is tried again: no word of room can be missed between. Nearly always there is room at once, and
                // nobody listens.
                None => {
                    let mut room = Box::pin(self.0.room_async.notified());
                    room.as_mut().enable();
                    listening = Some(room);
                }
                Some(room) => room.await,
            }
        }
    }
}

/// The receiver's end. What nobody took goes with it, and senders are told.
pub(super) struct Inbox<T, B>(Arc<Shared<T, B>>);

impl<T, B> Inbox<T, B> {
    /// An inbox with so much room in each lane.
    pub(super) fn with_capacity(capacity: usize) -> (Outbox<T, B>, Inbox<T, B>) {
        let lanes = Lanes {
            back: VecDeque::new(),
            first: VecDeque::new(),
            in_turn: VecDeque::new(),
            in_a_row: 0,
            senders: 1,
            waits: false,
            closed: false,
        };
        let shared = Arc::new(Shared {
            lanes: Mutex::new(lanes),
            came: Condvar::new(),
            room: Condvar::new(),
            room_async: Notify::new(),
            capacity,
        });
        (Outbox(shared.clone()), Inbox(shared))
    }

    /// The next of those that must not wait.
    pub(super) fn take_first(&self) -> Option<T> {
        let first = self.0.lanes().first.pop_front();
        self.0.made_room();
        first
    }

    /// The way back here.
    pub(super) fn back(&self) -> Back<T, B> {
        Back(self.0.clone())
    }

    /// The next message; waits for one until then, or as long as it takes.
    pub(super) fn take(&self, until: Option<Instant>) -> Taken<T, B> {
        let mut was_full = false;
        let next = |lanes: &mut Lanes<T, B>| {
            if let Some(answer) = lanes.back.pop_front() {
                return Some(Taken::Back(answer));
            }
            match lanes.next(self.0.capacity) {
                Some((next, full)) => {
                    was_full = full;
                    Some(Taken::One(next))
                }
                None => (lanes.senders == 0).then_some(Taken::Over),
            }
        };
        let taken = self.wait(until, next).unwrap_or(Taken::Nothing);
        if was_full {
            self.0.made_room();
        }
        taken
    }

    /// The next answer; waits for one until then, and everything else waits meanwhile.
    pub(super) fn take_back(&self, until: Instant) -> Option<B> {
        self.wait(Some(until), |lanes| lanes.back.pop_front())
    }

    fn wait<F>(
        &self,
        until: Option<Instant>,
        mut found: impl FnMut(&mut Lanes<T, B>) -> Option<F>,
    ) -> Option<F> {
        let mut lanes = self.0.lanes();
        loop {
            if let Some(found) = found(&mut lanes) {
                return Some(found);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return None;
            }
            lanes.waits = true;
            lanes = match left {
                None => self.0.came.wait(lanes).unwrap_or_else(PoisonError::into_inner),
                Some(left) => self.0.came.wait_timeout(lanes, left).unwrap_or_else(PoisonError::into_inner).0,
            };
            lanes.waits = false;
        }
    }
}

impl<T, B> Drop for Inbox<T, B> {
    fn drop(&mut self) {
        let mut lanes = self.0.lanes();
        lanes.closed = true;
        let left = (
            std::mem::take(&mut lanes.back),
            std::mem::take(&mut lanes.first),
            std::mem::take(&mut lanes.in_turn),
        );
        drop(lanes);
        self.0.made_room();
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// With room for so many, and no answers.
    fn inbox<T>(capacity: usize) -> (Outbox<T, Never>, Inbox<T, Never>) {
        Inbox::with_capacity(capacity)
    }

    /// What nobody answers.
    #[derive(Debug, PartialEq)]
    enum Never {}

    const NOW: fn() -> Option<Instant> = || Some(Instant::now());

    #[test]
    fn what_must_not_wait_comes_first_and_each_lane_keeps_its_order() {
        let (to, from) = inbox(8);
        for (lane, message) in [(Lane::InTurn, 1), (Lane::First, 10), (Lane::InTurn, 2), (Lane::First, 11)] {
            to.send(lane, message).unwrap();
        }
        for expected in [10, 11, 1, 2] {
            assert_eq!(from.take(NOW()), Taken::One(expected));
        }
        assert_eq!(from.take(NOW()), Taken::Nothing);
        drop(to);
        assert_eq!(from.take(None), Taken::Over);
    }

    #[test]
    fn however_many_must_not_wait_the_others_get_their_turn() {
        let (to, from) = inbox(1_000);
        to.send(Lane::InTurn, 0).unwrap();
        (1..=500).for_each(|message| to.send(Lane::First, message).unwrap());
        let before = (0..).take_while(|_| from.take(NOW()) != Taken::One(0)).count();
        assert_eq!(before, FIRST_IN_A_ROW as usize);
    }

    #[test]
    fn answers_come_before_everything_and_can_be_waited_for_alone() {
        let (to, from) = Inbox::with_capacity(1);
        let back = from.back();
        to.send(Lane::First, 1).unwrap();
        back.send(10);
        back.send(11);
        assert_eq!(from.take_back(Instant::now()), Some(10));
        assert_eq!(from.take(NOW()), Taken::Back(11));
        assert_eq!(from.take_back(Instant::now()), None, "whatever else there is");
        drop(to);
        assert_eq!([from.take(None), from.take(None)], [Taken::One(1), Taken::Over]);
        drop(from);
        back.send(12);
    }

    #[test]
    fn a_full_lane_makes_its_senders_wait_and_no_others() {
        let (to, from) = inbox(1);
        to.send(Lane::InTurn, 1).unwrap();
        to.send(Lane::First, 2).unwrap();
        let waiting = {
            let to = to.clone();
            thread::spawn(move || to.send(Lane::InTurn, 3))
        };
        assert_eq!(from.take(None), Taken::One(2));
        assert_eq!(from.take(None), Taken::One(1));
        assert_eq!(from.take(None), Taken::One(3));
        assert_eq!(waiting.join().unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn callers_of_a_full_lane_wait_without_a_thread() {
        let (to, from) = inbox(1);
        // All on this one thread: had any of them held it, nobody would take.
        let sends = (0..100).map(|message| {
            let to = to.clone();
            tokio::spawn(async move { to.send_async(Lane::InTurn, message).await })
        });
        let sends: Vec<_> = sends.collect();
        let mut taken = Vec::new();
        while taken.len() < 100 {
            tokio::task::yield_now().await;
            while let Taken::One(message) = from.take(NOW()) {
                taken.push(message);
            }
        }
        taken.sort_unstable();
        assert_eq!(taken, (0..100).collect::<Vec<_>>());
        for send in sends {
            assert_eq!(send.await.unwrap(), Ok(()));
        }
    }

    #[tokio::test]
    async fn whoever_waits_for_a_receiver_that_goes_is_told() {
        let (to, from) = inbox(1);
        let left = Arc::new(());
        to.send(Lane::InTurn, left.clone()).unwrap();
        let waiting = [
            tokio::spawn({
                let (to, message) = (to.clone(), left.clone());
                async move { to.send_async(Lane::InTurn, message).await }
            }),
            tokio::task::spawn_blocking({
                let (to, message) = (to.clone(), left.clone());
                move || to.send(Lane::InTurn, message)
            }),
        ];
        tokio::task::yield_now().await;
        drop(from);
        for waiting in waiting {
            assert!(waiting.await.unwrap().is_err());
        }
        assert!(to.send(Lane::First, left.clone()).is_err());
        assert_eq!(Arc::strong_count(&left), 1, "what was never taken is gone");
    }
}
