//! What an operator's `cluster init` has begun, on the node that was told to.
//!
//! The file `<data>/INIT` names the new cluster and its first members. It is written before the
//! node is stamped for that cluster, and tells it after a crash that it is the one to go on. It
//! counts only under a stamp of the same cluster: a crash between the two leaves a plan that
//! nobody has heard of, and the next one overwrites it.

use std::io;

use jeton_core::ids::ClusterId;

use crate::data_dir::DataDir;
use crate::disk;

/// Name of the file.
pub(crate) const INIT: &str = "INIT";
const MAGIC: [u8; 8] = *b"JETONINI";
const FORMAT: u32 = 1;

/// A cluster that is being formed, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitPlan {
    /// Its id.
    pub cluster: ClusterId,
    /// Peer addresses of its first members, sorted.
    pub members: Vec<String>,
}

impl InitPlan {
    /// Writes the plan into the directory, durably.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write(&self, dir: &DataDir) -> io::Result<()> {
        disk::replace(dir.disk().as_ref(), &dir.path().join(INIT), &self.encode())
    }

    /// The plan of the node that the directory is stamped for; `None` if it has none.
    ///
    /// # Errors
    /// `InvalidData` if the file is damaged, and what the operating system says.
    pub fn read(dir: &DataDir) -> io::Result<Option<Self>> {
        let Some(stamp) = dir.stamped() else { return Ok(None) };
        let file = dir.path().join(INIT);
        if !dir.disk().exists(&file)? {
            return Ok(None);
        }
        let bytes = dir.disk().open(&file)?.read_all()?;
        let plan = decode(&bytes).ok_or_else(|| {
            let words = format!("{} is damaged: empty the data directory", file.display());
            io::Error::new(io::ErrorKind::InvalidData, words)
        })?;
        Ok(Some(plan).filter(|plan| plan.cluster == stamp.cluster))
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&self.cluster.0);
        bytes.extend_from_slice(self.members.join("\n").as_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }
}

fn decode(bytes: &[u8]) -> Option<InitPlan> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let rest = body.strip_prefix(&MAGIC)?.strip_prefix(&FORMAT.to_le_bytes())?;
    let (cluster, rest) = rest.split_first_chunk::<16>()?;
    let members = std::str::from_utf8(rest).ok()?.split('\n').map(str::to_owned).collect();
    Some(InitPlan { cluster: ClusterId(*cluster), members })
}
