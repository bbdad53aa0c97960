//! What the machine says of itself: its name and CPU, the memory that was used, whether it was slowed.
//!
//! Read where Linux has it; elsewhere there is nothing to say.

use std::fs::read_to_string;

use serde::Serialize;

/// Cores of ARM by the part number in their MIDR_EL1 (Arm's technical reference manuals).
const CORES: [(u32, &str); 17] = [
    (0xb76, "ARM1176"),
    (0xc07, "Cortex-A7"),
    (0xc08, "Cortex-A8"),
    (0xc09, "Cortex-A9"),
    (0xc0f, "Cortex-A15"),
    (0xd03, "Cortex-A53"),
    (0xd04, "Cortex-A35"),
    (0xd05, "Cortex-A55"),
    (0xd07, "Cortex-A57"),
    (0xd08, "Cortex-A72"),
    (0xd09, "Cortex-A73"),
    (0xd0a, "Cortex-A75"),
    (0xd0b, "Cortex-A76"),
    (0xd0c, "Neoverse N1"),
    (0xd40, "Neoverse V1"),
    (0xd46, "Cortex-A510"),
    (0xd49, "Neoverse N2"),
];
const ARM: &str = "0x41";

/// Bits of a Raspberry Pi's `get_throttled`; the same 16 higher say that it was so since it booted.
const SLOWED: [(u32, &str); 4] = [
    (0, "under-voltage"),
    (1, "frequency capped"),
    (2, "throttled"),
    (3, "near the temperature limit"),
];

/// A machine after a piece of work.
#[derive(Serialize)]
pub(crate) struct Machine {
    /// As `Raspberry Pi 4 Model B Rev 1.4`.
    board: Option<String>,
    cpu: Option<String>,
    /// Most memory of this process at a time.
    peak_memory_bytes: Option<u64>,
    temperature_celsius: Option<f64>,
    /// What slows it down, or did since it booted; none where the board does not report it.
    slowed: Option<Vec<String>>,
}

impl Machine {
    /// This one, now.
    pub(crate) fn now() -> Self {
        let file = |path: &str| read_to_string(path).ok();
        let board = file("/proc/device-tree/model");
        let temperature = file("/sys/class/thermal/thermal_zone0/temp");
        Self {
            board: board.map(|name| name.trim_end_matches(['\0', '\n']).into()),
            cpu: file("/proc/cpuinfo").and_then(|text| cpu(&text)),
            peak_memory_bytes: file("/proc/self/status").and_then(|text| peak_memory(&text)),
            temperature_celsius: temperature
                .and_then(|text| Some(text.trim().parse::<f64>().ok()? / 1000.0)),
            slowed: file("/sys/devices/platform/soc/soc:firmware/get_throttled")
                .and_then(|text| slowed(&text)),
        }
    }

    /// In a few words; empty where nothing is known.
    pub(crate) fn text(&self) -> String {
        let mut parts: Vec<String> = self.board.iter().chain(&self.cpu).cloned().collect();
        if let Some(bytes) = self.peak_memory_bytes {
            parts.push(format!("at most {:.1} MiB of memory", bytes as f64 / f64::from(1 << 20)));
        }
        if let Some(celsius) = self.temperature_celsius {
            parts.push(format!("{celsius:.0} °C"));
        }
        match self.slowed.as_deref() {
            None => {}
            Some([]) => parts.push("not throttled".into()),
            Some(reasons) => parts.push(format!("SLOWED: {}", reasons.join(", "))),
        }
        parts.join(", ")
    }
}

/// The values of `key` in lines of `key : value`.
fn values<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

/// The kinds of cores in `/proc/cpuinfo`.
fn cpu(text: &str) -> Option<String> {
    let mut kinds: Vec<String> = Vec::new();
    if values(text, "CPU implementer").next() == Some(ARM) {
        for part in values(text, "CPU part") {
            let number = u32::from_str_radix(part.trim_start_matches("0x"), 16).ok();
            let known = CORES.iter().find(|(core, _)| Some(*core) == number);
            let kind = known.map_or_else(|| format!("ARM part {part}"), |(_, name)| (*name).into());
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
    } else {
        kinds.extend(values(text, "model name").next().map(Into::into));
    }
    (!kinds.is_empty()).then(|| kinds.join(" and "))
}

/// `VmHWM` of `/proc/self/status`.
fn peak_memory(text: &str) -> Option<u64> {
    let kib = values(text, "VmHWM").next()?.strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    kib.checked_mul(1024)
}

/// What a Raspberry Pi's firmware says, as `0x50005`.
fn slowed(text: &str) -> Option<Vec<String>> {
    let bits = u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()?;
    let mut reasons = Vec::new();
    for (bit, what) in SLOWED {
        if bits >> bit & 1 == 1 {
            reasons.push(format!("{what} now"));
        } else if bits >> (bit + 16) & 1 == 1 {
            reasons.push(format!("{what} earlier"));
        }
    }
    Some(reasons)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_named_once_a_kind() {
        let arm =
            |part: &str| format!("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n");
        let text = arm("0xd05") + &arm("0xd05") + &arm("0xd0b");
        assert_eq!(cpu(&text).as_deref(), Some("Cortex-A55 and Cortex-A76"));
        assert_eq!(cpu(&arm("0xabc")).as_deref(), Some("ARM part 0xabc"));
        let x86 = "processor : 0\nmodel name : Some CPU @ 2 GHz\nmodel name : Some CPU @ 2 GHz\n";
        assert_eq!(cpu(x86).as_deref(), Some("Some CPU @ 2 GHz"));
        assert_eq!(cpu("nothing"), None);
    }

    #[test]
    fn memory_and_throttling_are_read() {
        assert_eq!(peak_memory("VmPeak:\t 9 kB\nVmHWM:\t   2048 kB\n"), Some(2048 * 1024));
        assert_eq!(peak_memory("VmHWM: many"), None);
        assert_eq!(slowed("0\n"), Some(Vec::new()));
        let reasons = slowed("50005\n").unwrap_or_default();
        assert_eq!(reasons, ["under-voltage now", "throttled now"]);
        assert_eq!(slowed("0x20000").unwrap_or_default(), ["frequency capped earlier"]);
        assert_eq!(slowed("?"), None);
    }
}
