//! What the system says about this process and the processor.

/// Largest resident memory of this process so far, in bytes (Linux).
pub fn peak_bytes() -> Option<u64> {
    status("VmHWM:")
}

/// Resident memory of this process now, in bytes (Linux).
pub fn resident_bytes() -> Option<u64> {
    status("VmRSS:")
}

fn status(key: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
