//! Deployment: a bundle is copied beside the one in use, checked and proven on the board, and only
//! then put in use.

mod report;
mod ssh;
mod steps;
mod upload;

use anyhow::{Context, Result, bail};

pub use report::Deployed;
pub use ssh::Address;
use ssh::Connection;
use steps::Place;
use upload::Way;

use crate::bundle::{Bundle, SUMS, sums};
use crate::progress::Progress;

/// Hexadecimal digits of the checksums' checksum that name a release.
const ID_DIGITS: usize = 12;

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the board is.
    pub address: Address,
    /// Folder there, relative to the user's own or absolute.
    pub folder: String,
    /// Inferences to time.
    pub runs: u64,
}

/// Copies `bundle`, whose sums were checked, to a board, verifies and times it there, and puts it in
/// use when it passed.
pub fn deploy(bundle: &Bundle, options: &Options, progress: &Progress) -> Result<Deployed> {
    let folder = folder(&options.folder)?;
    if bundle.find("hipflask-run").is_none() {
        bail!("hipflask-run: is not in the bundle: a bundle for a page is served, not deployed");
    }
    let sum = sums::hex(bundle.bytes_of(SUMS)?);
    let id = sum.get(..ID_DIGITS).context("no checksum")?;
    let connection = Connection::new(options.address.clone())?;
    let place = Place { connection: &connection, folder, id, sum: &sum };
    let board = place.look()?;
    let (way, at) = if board.has_release {
        progress.line(&format!("deploy: {id} is there, whole"));
        (None, format!("releases/{id}"))
    } else {
        let way = Way::choose(board.has_rsync);
        progress.line(&format!("deploy: copying {} bytes", bundle.bytes()));
        way.copy(&connection, bundle, &place.part())?;
        (Some(way), format!("releases/.{id}.part"))
    };
    place.check(&at)?;
    progress.line("deploy: verifying");
    let (passed, verify) = place.verify(&at)?;
    let bench = if passed {
        progress.line("deploy: timing");
        Some(place.bench(&at, options.runs)?)
    } else {
        None
    };
    if passed {
        place.switch(&at)?;
    }
    Ok(Deployed {
        host: connection.host().into(),
        system: board.system,
        folder: folder.into(),
        release: id.into(),
        before: board.current,
        copied: way,
        at,
        passed,
        verify,
        bench,
    })
}

/// The folder as scripts have it: relative to the user's own, where they begin.
fn folder(text: &str) -> Result<&str> {
    let folder = text.strip_prefix("~/").unwrap_or(text).trim_end_matches('/');
    if folder.is_empty() || folder.starts_with(['-', '~']) || folder.contains(['\n', '\0']) {
        bail!("--folder {text:?}: is no folder of the board's: write a name, as hipflask");
    }
    Ok(folder)
}
