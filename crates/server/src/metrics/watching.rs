//! Who watches revocations, and what that costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::list;
use super::page::Page;

/// Watchers of revocations, over gRPC and HTTP.
#[derive(Debug, Default)]
pub(crate) struct Watching {
    began: AtomicU64,
    ended: AtomicU64,
    cut_off: AtomicU64,
    reads: AtomicU64,
}

/// One who watches; dropping it ends that.
#[derive(Debug)]
pub(crate) struct OpenWatch(Arc<Watching>);

impl Watching {
    /// One more.
    pub(crate) fn open(self: &Arc<Self>) -> OpenWatch {
        self.began.fetch_add(1, Ordering::Relaxed);
        OpenWatch(self.clone())
    }

    /// One was too slow.
    pub(crate) fn cut_off(&self) {
        self.cut_off.fetch_add(1, Ordering::Relaxed);
    }

    /// Rows of a feed were looked at.
    pub(crate) fn read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn show(&self, page: &mut Page) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        page.one(&list::WATCHERS, of(&self.began).saturating_sub(of(&self.ended)));
        page.one(&list::WATCHERS_CUT_OFF, of(&self.cut_off));
        page.one(&list::FEED_READS, of(&self.reads));
    }
}

impl Drop for OpenWatch {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}
