//! Work done ahead of its use, in order.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, JoinHandle};

/// Items 0, 1, 2, ... made by a function of their number on threads of their own, and handed out in
/// that order.
///
/// Item n is made by thread n mod `threads`. Each thread has at most two items that nobody has taken
/// yet: one waiting, one in the making or held until there is room. So memory is bounded by twice as
/// many items as threads.
///
/// Dropping it stops the threads after the item each is at.
pub struct Prefetch<T> {
    lanes: Vec<Lane<T>>,
    /// Makes items where there are no threads.
    make: Arc<dyn Fn(u64) -> Option<T> + Send + Sync>,
    next: u64,
    ended: bool,
}

struct Lane<T> {
    /// `None` once the prefetch is being dropped.
    items: Option<Receiver<T>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Prefetch<T> {
    /// Starts `threads` threads, which make items until `make` returns `None` for a number; it must
    /// then do so for all greater ones. With 0 threads each item is made when it is asked for, on
    /// the asking thread.
    ///
    /// # Errors
    /// The operating system's, if it gives no thread.
    pub fn new(
        threads: usize,
        make: impl Fn(u64) -> Option<T> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let make: Arc<dyn Fn(u64) -> Option<T> + Send + Sync> = Arc::new(make);
        let mut prefetch = Self { lanes: Vec::with_capacity(threads), make, next: 0, ended: false };
        for first in 0..threads {
            let (sender, items) = sync_channel(1);
            let make = prefetch.make.clone();
            let work = move || {
                let numbers = (first as u64..).step_by(threads);
                for item in numbers.map_while(|number| make(number)) {
                    // Nobody wants more.
                    if sender.send(item).is_err() {
                        return;
                    }
                }
            };
            let thread = Builder::new().name(format!("feed {first}")).spawn(work)?;
            prefetch.lanes.push(Lane { items: Some(items), thread: Some(thread) });
        }
        Ok(prefetch)
    }
}

impl<T> Iterator for Prefetch<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.ended {
            return None;
        }
        let number = self.next;
        self.next += 1;
        let item = if self.lanes.is_empty() {
            (self.make)(number)
        } else {
            let lane = number as usize % self.lanes.len();
            let lane = &mut self.lanes[lane];
            let item = lane.items.as_ref().and_then(|items| items.recv().ok());
            if item.is_none()
                && let Some(Err(panic)) = lane.thread.take().map(JoinHandle::join)
            {
                // As if it had happened here: an item must not be lost in silence.
                std::panic::resume_unwind(panic);
            }
            item
        };
        self.ended = item.is_none();
        item
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        // First all receivers, so that no thread waits for room while another is waited for.
        for lane in &mut self.lanes {
            lane.items = None;
        }
        for thread in self.lanes.iter_mut().filter_map(|lane| lane.thread.take()) {
            // A panic of an item that nobody asked for is nobody's concern.
            let _ = thread.join();
        }
    }
}

impl<T> std::fmt::Debug for Prefetch<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prefetch")
            .field("threads", &self.lanes.len())
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}
