//! One connection to a board, by the system's `ssh`: the user's own settings, keys and agent count.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// Where a board is, as `ssh` is told.
#[derive(Clone, Debug)]
pub struct Address {
    /// `user@board`, or a name in the settings of ssh.
    pub host: String,
    /// The port, where it is not the one of the settings.
    pub port: Option<u16>,
    /// Settings instead of `~/.ssh/config`.
    pub config: Option<PathBuf>,
}

/// An open connection: what needs a password or a touch needs it once.
#[derive(Debug)]
pub struct Connection {
    address: Address,
    /// Folder of the socket that later calls share; not on Windows, whose ssh cannot.
    socket: Option<TempDir>,
}

/// What a command on the board came to.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its exit code.
    pub code: i32,
    /// What it wrote.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Connection {
    /// Prepares a connection, which the first command opens.
    pub fn new(address: Address) -> Result<Self> {
        let host = &address.host;
        // A name that begins with a dash would be a flag of ssh's.
        if host.is_empty() || host.starts_with('-') || host.contains(|c: char| c.is_whitespace()) {
            bail!("--host {host:?}: is no host: write user@board");
        }
        let socket = if cfg!(unix) {
            Some(tempfile::tempdir().context("no temporary folder can be made")?)
        } else {
            None
        };
        Ok(Self { address, socket })
    }

    /// The board's name for messages.
    pub fn host(&self) -> &str {
        &self.address.host
    }

    /// Flags of `ssh`, without the host.
    pub fn flags(&self) -> Vec<OsString> {
        let mut flags: Vec<OsString> = Vec::new();
        let mut add = |flag: &str, value: OsString| flags.extend([flag.into(), value]);
        if let Some(config) = &self.address.config {
            add("-F", config.into());
        }
        if let Some(port) = self.address.port {
            add("-p", port.to_string().into());
        }
        add("-o", "ConnectTimeout=15".into());
        if let Some(socket) = &self.socket {
            add("-o", "ControlMaster=auto".into());
            add("-o", "ControlPersist=60".into());
            let mut path = OsString::from("ControlPath=");
            path.push(socket.path().join("s"));
            add("-o", path);
        }
        flags
    }

    /// Runs a shell script on the board, with `input` on its stdin.
    pub fn run(&self, script: &str, input: &[u8]) -> Result<Said> {
        let mut command = Command::new("ssh");
        // The user's shell there may be any; the script is for the one that POSIX describes.
        command
            .args(self.flags())
            .arg("--")
            .arg(self.host())
            .arg(format!("sh -c {}", quoted(script)));
        let started =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = started
            .context("ssh cannot be started: install OpenSSH (apt-get install openssh-client)")?;
        let stdin = child.stdin.take();
        let output = std::thread::scope(|scope| {
            scope.spawn(move || {
                // Where the other side stops reading it says why on stderr.
                stdin.map(|mut stdin| stdin.write_all(input))
            });
            child.wait_with_output()
        });
        let output = output.context("ssh has gone")?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_string();
        let said = Said {
            code: output.status.code().unwrap_or(SSH_FAILED),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        };
        if said.code == SSH_FAILED {
            bail!("{}: cannot be reached by ssh: {}", self.host(), said.complaint());
        }
        Ok(said)
    }

    /// As [`Connection::run`], where only success is of use; `what` says what could not be done.
    pub fn done(&self, script: &str, input: &[u8], what: &str) -> Result<String> {
        let said = self.run(script, input)?;
        if said.code != 0 {
            bail!("{}: {what}: {}", self.host(), said.complaint());
        }
        Ok(said.stdout)
    }
}

impl Said {
    /// What it said when it failed.
    pub fn complaint(&self) -> String {
        let said: Vec<&str> = self.stderr.lines().chain(self.stdout.lines()).collect();
        if said.is_empty() { format!("exit code {}", self.code) } else { said.join("; ") }
    }
}

/// Exit code of ssh itself.
const SSH_FAILED: i32 = 255;

impl Drop for Connection {
    fn drop(&mut self) {
        if self.socket.is_some() {
            // Without a connection there is none to end.
            let mut command = Command::new("ssh");
            command.args(self.flags()).args(["-O", "exit", "--", self.host()]);
            let _ =
                command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).status();
        }
    }
}

/// `text` as one word of a POSIX shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
