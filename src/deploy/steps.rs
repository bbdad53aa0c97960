//! What is done on the board, as scripts of the POSIX shell; busybox has all that they call.
//!
//! The folder of a deployment: `releases/ID` for each bundle, ID from its checksums; `current`, a
//! link to the one in use; perhaps `allowed_signers`, the keys that the board believes.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::ssh::{Connection, quoted};
use crate::bundle::{GOLDEN, MODEL};

/// What a board says of itself.
#[derive(Clone, Debug)]
pub(super) struct Board {
    /// System, release and machine, as `uname` names them.
    pub system: String,
    /// Whether it has rsync.
    pub has_rsync: bool,
    /// Whether the release is there, whole.
    pub has_release: bool,
    /// The release in use.
    pub current: Option<String>,
}

/// A place on a board for one bundle.
#[derive(Debug)]
pub(super) struct Place<'a> {
    /// The board.
    pub connection: &'a Connection,
    /// The folder of the deployment.
    pub folder: &'a str,
    /// What the bundle's release is called.
    pub id: &'a str,
    /// SHA-256 of its SHA256SUMS.
    pub sum: &'a str,
}

/// `sha256sum` of the sums and by them; `allowed_signers` where the board has some. Fails with 1:
/// 255, which is ssh-keygen's, would be taken for ssh's own.
const CHECK: &str = "[ \"$(sha256sum < SHA256SUMS | cut -d ' ' -f 1)\" = \"$sum\" ] \
    || { echo 'SHA256SUMS: differs'; exit 1; }; sha256sum -c SHA256SUMS 2>&1 | grep -v ': OK$' \
    && exit 1; [ ! -e ../../allowed_signers ] || ssh-keygen -Y verify -n hipflask -I hipflask \
    -f ../../allowed_signers -s SHA256SUMS.sig < SHA256SUMS > /dev/null || exit 1";

impl Place<'_> {
    /// Where the bundle is copied to and tried.
    pub(super) fn part(&self) -> String {
        format!("{}/releases/.{}.part", self.folder, self.id)
    }

    /// A script in the folder `of` of the deployment's.
    fn script(&self, of: &str, text: &str) -> String {
        let folder = quoted(&format!("{}/{of}", self.folder));
        format!("cd {folder} || exit; id={} sum={}; {text}", self.id, self.sum)
    }

    /// Makes the folder, and asks what is there.
    pub(super) fn look(&self) -> Result<Board> {
        let make = format!("mkdir -p {}/releases && ", quoted(self.folder));
        let text = format!(
            "uname -srm; if command -v rsync > /dev/null; then echo rsync; else echo; fi; \
             command -v sha256sum > /dev/null || {{ echo 'there is no sha256sum' >&2; exit 1; }}; \
             readlink current || echo; [ ! -d releases/$id ] || \
             (cd releases/$id && {CHECK}) > /dev/null 2>&1 && [ -d releases/$id ] && echo whole; :"
        );
        let script = make + &self.script("", &text);
        let said = self.connection.done(&script, &[], "the board cannot be prepared")?;
        let mut lines = said.lines();
        let mut line = || lines.next().unwrap_or_default().to_string();
        let (system, rsync, current, whole) = (line(), line(), line(), line());
        Ok(Board {
            system,
            has_rsync: rsync == "rsync",
            has_release: whole == "whole",
            current: current.strip_prefix("releases/").map(String::from),
        })
    }

    /// Checks what was copied, there: every byte, and the signature where the board asks for one.
    pub(super) fn check(&self, of: &str) -> Result<()> {
        let said = self.connection.run(&self.script(of, CHECK), &[])?;
        if said.code != 0 {
            bail!(
                "{}: what arrived is not the bundle ({}); nothing was changed there",
                self.connection.host(),
                said.complaint()
            );
        }
        Ok(())
    }

    /// `hipflask-run verify` there: whether it passed, and its document.
    pub(super) fn verify(&self, of: &str) -> Result<(bool, Value)> {
        let text = format!("./hipflask-run verify {MODEL} {GOLDEN} --json; exit $?");
        let said = self.connection.run(&self.script(of, &text), &[])?;
        match said.code {
            0 | 1 => Ok((said.code == 0, self.document(&said.stdout, "verify")?)),
            _ => bail!(
                "{}: hipflask-run cannot verify there; nothing was changed: {}",
                self.connection.host(),
                said.complaint()
            ),
        }
    }

    /// `hipflask-run bench` there: its document.
    pub(super) fn bench(&self, of: &str, runs: u64) -> Result<Value> {
        let text = format!("./hipflask-run bench {MODEL} {runs} --json; exit $?");
        let what = "hipflask-run cannot bench there; nothing was changed";
        let said = self.connection.done(&self.script(of, &text), &[], what)?;
        self.document(&said, "bench")
    }

    /// Puts the release in use, by one rename; keeps it and the one before, and removes all others.
    pub(super) fn switch(&self, of: &str) -> Result<()> {
        let put = if of.strip_suffix(".part").is_some() {
            "[ ! -e releases/$id ] || mv releases/$id releases/.$id.old || exit; \
             mv releases/.$id.part releases/$id || exit; "
        } else {
            ""
        };
        let text = format!(
            "old=$(readlink current); {put}rm -rf .current.new; \
             ln -s releases/$id .current.new && mv -f -T .current.new current || exit; \
             cd releases && for other in * .*.part .*.old; do \
             [ \"$other\" = $id ] || [ \"releases/$other\" = \"$old\" ] || [ ! -d \"$other\" ] || \
             rm -rf \"$other\"; done"
        );
        let what = "the new release cannot be put in use; the old one stays";
        self.connection.done(&self.script("", &text), &[], what)?;
        Ok(())
    }

    fn document(&self, text: &str, what: &str) -> Result<Value> {
        serde_json::from_str(text).with_context(|| {
            format!("{}: hipflask-run {what} answered with no JSON there", self.connection.host())
        })
    }
}
