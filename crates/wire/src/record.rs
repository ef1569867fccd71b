//! Records on the wire, both ways: requests, what is shown, and answers.

mod answer;
mod decode;
mod encode;
mod reply;
mod view;

use jeton_core::command::RecordName;
use jeton_core::ids::{KeyDigest, RecordKind};
use jeton_core::reply::RecordView;

pub use answer::{
    collect_expired, consume, delete_record, delete_records, find_records, get_record,
    look_up_record, put_record, seen_once,
};
pub(crate) use decode::{
    collect, consume as asked_consume, consumption, delete, delete_all, find, get, look_up, put,
    seen,
};
pub use encode::{
    collect_request, consume_request, delete_all_request, delete_request, find_request,
    look_up_request, put_request, seen_request,
};
pub(crate) use encode::{consumption as shown_consumption, get_request};
pub use reply::{found, shown};
pub(crate) use reply::{performed, refused};

/// Records of a page when no size is asked for.
pub const PAGE_DEFAULT: u32 = 100;

/// A record that is asked for, or a page of them.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordsAsked {
    /// Of which kind.
    pub kind: RecordKind,
    /// By its own key, or by an index key.
    pub by: RecordName,
    /// Behind which key; `None` for the first page.
    pub after: Option<KeyDigest>,
    /// At most so many: 1 to [`jeton_core::limits::PAGE_ROWS_MAX`].
    pub records_max: u32,
}

/// A page of records.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// In the order of their keys.
    pub records: Vec<RecordView>,
    /// For the next page; `None` if that was all.
    pub next: Option<String>,
}

/// What a collection did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collected {
    /// How many records it deleted.
    pub count: u32,
    /// Whether there are more.
    pub more: bool,
}
