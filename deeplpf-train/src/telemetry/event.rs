//! TensorBoard's event files: records of protocol buffers.
//!
//! A record is the length (8 bytes, little endian), its checksum, the message, its checksum; a
//! checksum is CRC-32C turned right by 15 bits plus a constant. Sources: TensorFlow's
//! `core/lib/io/record_writer.h` for records, `core/util/event.proto` and
//! `core/framework/summary.proto` for messages, of which these are the fields used here.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use prost::{Message, Oneof};

use crate::{Result, TrainError};

/// What readers look for in a file's first event.
const VERSION: &str = "brain.Event:2";
/// `SessionLog.SessionStatus.START`.
const START: i32 = 1;
/// `TextureFormat` of PNGs in RGB: the number of channels.
const RGB: i32 = 3;

#[derive(Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

#[derive(Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Tagged>,
}

#[derive(Message)]
struct Tagged {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(oneof = "Value", tags = "2, 4, 5")]
    value: Option<Value>,
}

/// What is shown under a tag at a step.
#[derive(Oneof)]
pub(super) enum Value {
    /// A point of a curve.
    #[prost(float, tag = "2")]
    Scalar(f32),
    /// A picture.
    #[prost(message, tag = "4")]
    Image(Image),
    /// A distribution.
    #[prost(message, tag = "5")]
    Histogram(Histogram),
}

/// A PNG.
#[derive(Message)]
pub(super) struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    #[prost(int32, tag = "3")]
    colour_space: i32,
    #[prost(bytes = "vec", tag = "4")]
    png: Vec<u8>,
}

impl Image {
    /// Of a PNG in RGB.
    pub fn new(png: Vec<u8>, [width, height]: [u32; 2]) -> Self {
        Self { height: height as i32, width: width as i32, colour_space: RGB, png }
    }
}

/// Counts of values in intervals.
#[derive(Message)]
pub(super) struct Histogram {
    #[prost(double, tag = "1")]
    min: f64,
    #[prost(double, tag = "2")]
    max: f64,
    #[prost(double, tag = "3")]
    count: f64,
    #[prost(double, tag = "4")]
    sum: f64,
    #[prost(double, tag = "5")]
    sum_of_squares: f64,
    /// Upper ends of the intervals.
    #[prost(double, repeated, tag = "6")]
    limits: Vec<f64>,
    #[prost(double, repeated, tag = "7")]
    counts: Vec<f64>,
}

impl Histogram {
    /// As many intervals as TensorBoard draws.
    const INTERVALS: usize = 30;

    /// Of the values that are finite, in intervals of one width; `None` without any.
    pub fn new(values: &[f64]) -> Option<Self> {
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        let (min, max) = (finite().reduce(f64::min)?, finite().reduce(f64::max)?);
        let intervals = if min < max { Self::INTERVALS } else { 1 };
        let width = (max - min) / intervals as f64;
        let mut counts = vec![0.0; intervals];
        for value in finite() {
            let place = if width > 0.0 { ((value - min) / width) as usize } else { 0 };
            counts[place.min(intervals - 1)] += 1.0;
        }
        let mut limits: Vec<f64> = (1..=intervals).map(|k| min + width * k as f64).collect();
        if let Some(last) = limits.last_mut() {
            *last = max;
        }
        Some(Self {
            min,
            max,
            count: counts.iter().sum(),
            sum: finite().sum(),
            sum_of_squares: finite().map(|value| value * value).sum(),
            limits,
            counts,
        })
    }
}

/// A file that is being written.
pub(super) struct EventFile {
    file: BufWriter<File>,
    path: PathBuf,
}

impl EventFile {
    /// A new file in `folder` that goes on at `step`: readers drop what older files have from there.
    pub fn create(folder: &Path, step: u64) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(TrainError::io("create", folder))?;
        // Readers take files in the order of their names, so the time comes first.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!(
            "events.out.tfevents.{:010}.{:09}.{}.deeplpf",
            now.as_secs(),
            now.subsec_nanos(),
            std::process::id()
        );
        let path = folder.join(name);
        let file = File::create_new(&path).map_err(TrainError::io("create", &path))?;
        let mut events = Self { file: BufWriter::new(file), path };
        events.put(0, What::FileVersion(VERSION.into()))?;
        events.put(step, What::SessionLog(SessionLog { status: START }))?;
        events.flush()?;
        Ok(events)
    }

    /// Adds values at a step.
    pub fn add(&mut self, step: u64, values: Vec<(String, Value)>) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        let value =
            values.into_iter().map(|(tag, value)| Tagged { tag, value: Some(value) }).collect();
        self.put(step, What::Summary(Summary { value }))
    }

    /// Lets readers see what was added.
    pub fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(TrainError::io("write", &self.path))
    }

    fn put(&mut self, step: u64, what: What) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let event = Event { wall_time: now.as_secs_f64(), step: step as i64, what: Some(what) };
        self.file
            .write_all(&record(&event.encode_to_vec()))
            .map_err(TrainError::io("write", &self.path))
    }
}

fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(message.len() + 16);
    record.extend(length);
    record.extend(checksum(&length).to_le_bytes());
    record.extend(message);
    record.extend(checksum(message).to_le_bytes());
    record
}

fn checksum(bytes: &[u8]) -> u32 {
    const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
    CRC.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of CRC-32C, RFC 3720 appendix B.4, and its form in records.
    #[test]
    fn checksums_are_those_of_the_standard() {
        let zeros = [0u8; 32];
        let crc: u32 = 0x8a91_36aa;
        assert_eq!(checksum(&zeros), crc.rotate_right(15).wrapping_add(0xa282_ead8));
    }

    #[test]
    fn every_finite_value_is_counted_once() {
        let values = [0.5, -1.0, 2.0, f64::NAN, 2.0, 0.5, f64::INFINITY];
        let histogram = Histogram::new(&values).unwrap();
        assert_eq!((histogram.min, histogram.max, histogram.count), (-1.0, 2.0, 5.0));
        assert_eq!(histogram.counts.len(), histogram.limits.len());
        assert_eq!(histogram.counts[Histogram::INTERVALS - 1], 2.0);
        assert_eq!((histogram.sum, histogram.sum_of_squares), (4.0, 9.5));
        assert!(Histogram::new(&[f64::NAN]).is_none());
        assert_eq!(Histogram::new(&[3.0, 3.0]).unwrap().counts, [2.0]);
    }
}
