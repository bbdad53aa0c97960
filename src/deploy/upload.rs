//! Copies a bundle to a board: by rsync where both sides have it, which sends what differs and goes
//! on where it was interrupted, else as an archive through ssh.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::ssh::{Connection, quoted};
use crate::bundle::{Bundle, on_path, write_folder};

/// What copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// rsync, with the release in use as its model.
    Rsync,
    /// `tar` on the board, fed through ssh.
    Tar,
}

impl Way {
    /// The better one that both sides have.
    pub fn choose(board_has_rsync: bool) -> Self {
        if board_has_rsync && on_path("rsync").is_some() { Self::Rsync } else { Self::Tar }
    }

    /// Copies the files into `folder` of the board, relative to the user's own or absolute.
    pub fn copy(self, connection: &Connection, bundle: &Bundle, folder: &str) -> Result<()> {
        match self {
            Self::Rsync => rsync(connection, bundle, folder),
            Self::Tar => tar(connection, bundle, folder),
        }
    }
}

fn rsync(connection: &Connection, bundle: &Bundle, folder: &str) -> Result<()> {
    let desk = tempfile::tempdir().context("no temporary folder can be made")?;
    write_folder(bundle, desk.path())?;
    let shell: Option<Vec<String>> = ["ssh".into()]
        .into_iter()
        .chain(connection.flags())
        // rsync splits at spaces, and takes a doubled quote for one.
        .map(|word| Some(format!("'{}'", word.to_str()?.replace('\'', "''"))))
        .collect();
    let shell = shell.context("--ssh-config: its path is not UTF-8")?.join(" ");
    let mut command = Command::new("rsync");
    // By checksums: the folder was written just now, so times say nothing.
    command.args(["--recursive", "--perms", "--checksum", "--delete", "--partial"]);
    command.args(["--protect-args", "--copy-dest=../../current/", "--rsh", &shell, "--"]);
    command.arg(Path::new(desk.path()).join(""));
    command.arg(format!("{}:{folder}/", connection.host()));
    let output = command
        .stdin(Stdio::null())
        .output()
        .context("rsync cannot be started to copy the bundle")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{}: rsync could not copy the bundle; deploy again to go on from there: {}",
            connection.host(),
            said.trim().replace('\n', "; ")
        );
    }
    Ok(())
}

fn tar(connection: &Connection, bundle: &Bundle, folder: &str) -> Result<()> {
    let packed = bundle.tar("", Vec::new()).context("the bundle cannot be packed")?;
    let folder = quoted(folder);
    let script = format!("rm -rf {folder} && mkdir -p {folder} && tar -x -f - -C {folder}");
    connection.done(&script, &packed, "the bundle cannot be unpacked there")?;
    Ok(())
}
