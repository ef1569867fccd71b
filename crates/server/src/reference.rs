//! The reference of the API: a page for each operation, for `docs/reference/operations`.
//!
//! ```text
//!  .proto files ──► inputs, answers, limits ─┐
//!  reference/<Service>.toml ──► replies in   ├─► pages ─► docs/reference/operations/*.md
//!     order, ways to call it, a request      │
//!  reference/answers/*.json ──► real answers ┘
//! ```
//!
//! What a message says of itself stands in its .proto file, and nowhere else. What no descriptor
//! knows stands in one entry of a service's TOML file. A test asks a real node every request and
//! keeps the answers; others keep the pages equal to what is made here. Nothing here runs in a
//! server.

mod entry;
mod fields;
mod first;
mod page;
mod shown;

use std::collections::BTreeMap;

use jeton_wire::DESCRIPTORS;
use prost_reflect::{DescriptorPool, MethodDescriptor};

pub use entry::{Entry, Failed, Replied};
pub use shown::{differences, misplaced};

/// The folder of the entries, from the root of the repository.
pub const FOLDER: &str = "crates/server/src/reference";
/// What tells how to make the pages anew.
pub const COMMAND: &str = "cargo run -p jeton-server --example reference -- operations";

/// An operation of the public API.
pub struct Operation {
    /// `TokenService.Rotate`.
    pub name: String,
    /// Where it is called over HTTP; `None` of a stream.
    pub path: Option<String>,
    /// What its descriptors don't know; `None` if nobody wrote it.
    pub entry: Option<Entry>,
    method: MethodDescriptor,
}

/// All operations, services together, in the order in which their files declare them.
///
/// # Panics
/// If a TOML file can't be read as entries: the words say which.
#[must_use]
pub fn operations() -> Vec<Operation> {
    let pool = DescriptorPool::decode(DESCRIPTORS).expect("the build wrote these descriptors");
    let mut entries = entry::all();
    let mut operations = Vec::new();
    for service in pool.services() {
        let Some(package) = service.package_name().strip_prefix("jeton.") else { continue };
        for method in service.methods() {
            let name = format!("{}.{}", service.name(), method.name());
            let streams = method.is_client_streaming() || method.is_server_streaming();
            let folder = package.replace('.', "/");
            let path = (!streams).then(|| format!("/{folder}/{}", name.replace('.', "/")));
            let entry = entries.remove(&name);
            operations.push(Operation { name, path, entry, method });
        }
    }
    let left: Vec<&String> = entries.keys().collect();
    assert!(left.is_empty(), "{FOLDER} describes what no .proto file declares: {left:?}");
    operations
}

/// What is missing or wrong in the sources of the pages, each with the file to edit.
#[must_use]
pub fn faults() -> Vec<String> {
    operations().iter().flat_map(entry::faults).collect()
}

/// The pages by their file names. `answer` gives what `answers/NAME.json` holds.
#[must_use]
pub fn pages(answer: &dyn Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
    let operations = operations();
    let mut pages = BTreeMap::new();
    for operation in &operations {
        let answer = answer(&operation.name);
        pages.insert(
            format!("{}.md", operation.name),
            page::of(operation, answer.as_deref(), &operations),
        );
    }
    pages.insert("README.md".to_owned(), page::index(&operations));
    pages.insert("refusal.md".to_owned(), page::refusal(&operations));
    pages
}
