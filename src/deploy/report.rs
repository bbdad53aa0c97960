//! What a deployment came to: a document for machines, lines for people.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use super::upload::Way;

/// What a deployment came to.
#[derive(Clone, Debug, Serialize)]
pub struct Deployed {
    /// The board.
    pub host: String,
    /// Its system, as `uname` names it.
    pub system: String,
    /// The folder of the deployment there.
    pub folder: String,
    /// The bundle's release there.
    pub release: String,
    /// The release that was in use before.
    pub before: Option<String>,
    /// How it was copied; nothing where it was there already.
    pub copied: Option<Way>,
    /// Where it was tried, in the folder.
    #[serde(skip)]
    pub at: String,
    /// Whether it passed and is in use now.
    pub passed: bool,
    /// What `hipflask-run verify --json` said there.
    pub verify: Value,
    /// What `hipflask-run bench --json` said there; nothing where the samples failed.
    pub bench: Option<Value>,
}

impl Deployed {
    /// Writes it for people.
    pub fn write(&self, out: &mut dyn Write) -> Result<()> {
        writeln!(out, "{}: {}", self.host, self.system)?;
        writeln!(out, "verify  {}", self.verified())?;
        if let Some(bench) = &self.bench {
            let us = |key: &str| bench[key].as_f64().unwrap_or(f64::NAN);
            writeln!(
                out,
                "bench   {} runs on {}: p50 {:.1} µs, p90 {:.1} µs, p99 {:.1} µs; arena {} bytes",
                bench["runs"],
                bench["isa"].as_str().unwrap_or("?"),
                us("p50_us"),
                us("p90_us"),
                us("p99_us"),
                bench["arena_bytes"],
            )?;
        }
        let Self { folder, release, before, .. } = self;
        if self.passed {
            writeln!(
                out,
                "in use  {folder}/current -> releases/{release}{}",
                match before {
                    Some(before) if before != release => format!(", before it {before}"),
                    _ => String::new(),
                }
            )?;
        } else {
            let still = before.as_ref().map_or("nothing".into(), |id| format!("releases/{id}"));
            writeln!(out, "in use  {still}, as before; what failed is {folder}/{}", self.at)?;
        }
        Ok(())
    }

    fn verified(&self) -> String {
        let Value::Object(verdict) = &self.verify else { return self.verify.to_string() };
        let count = |key: &str| verdict.get(key).and_then(Value::as_u64).unwrap_or(0);
        let exact = verdict.get("exact") == Some(&Value::Bool(true));
        let mut text = format!(
            "{}: {} of {} samples {}",
            if self.passed { "passed" } else { "FAILED" },
            count("equal"),
            count("samples"),
            if exact { "bits equal" } else { "within tolerance" },
        );
        if let Some(value) = verdict.get("first_divergence").and_then(Value::as_str) {
            text += &format!(", first divergence at {value}");
        }
        for (key, name) in [("agreement", "teacher's class"), ("accuracy", "right class")] {
            if let Some(share) = verdict.get(key).and_then(Value::as_f64) {
                text += &format!("; {name} {:.1} %", share * 100.0);
            }
        }
        text
    }
}
