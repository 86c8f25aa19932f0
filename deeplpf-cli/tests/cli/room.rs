//! A temporary folder to run the program in, and things to put there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use deeplpf_core::checkpoint::write_safetensors;
use deeplpf_core::{DType, Device, Initialisation, Model, ModelConfig};
use image::{ImageBuffer, Rgb, RgbImage};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_deeplpf");

/// A temporary folder, removed at the end.
pub struct Room(tempfile::TempDir);

/// What a run of the program left behind besides files.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Room {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// A room with an untrained model that returns its input, in `w.safetensors`.
    pub fn with_weights() -> Self {
        let room = Self::new();
        room.write_model(&small_model(), "w.safetensors");
        room
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs the program here; the arguments are separated by spaces.
    pub fn run(&self, arguments: &str) -> Run {
        let mut command = Command::new(PROGRAM);
        command.args(arguments.split_whitespace()).current_dir(self.0.path());
        Run::of(&mut command)
    }

    /// Runs a shell script here, with the program as `$deeplpf`.
    pub fn shell(&self, script: &str) -> Run {
        let mut command = Command::new("sh");
        command.args(["-c", script]).env("deeplpf", PROGRAM).current_dir(self.0.path());
        Run::of(&mut command)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.make_parent(name), bytes).expect("a file");
    }

    pub fn write_model(&self, model: &Model, name: &str) {
        write_safetensors(model, &self.make_parent(name)).expect("weights");
    }

    /// An 8-bit picture of ramps between 16 and 235.
    pub fn picture(&self, name: &str, width: u32, height: u32) -> RgbImage {
        let ramp = |at: u32, of: u32| 16 + (at * 219 / of.max(1)) as u8;
        let picture = RgbImage::from_fn(width, height, |x, y| {
            Rgb([ramp(x, width), ramp(y, height), ramp(x + y, width + height)])
        });
        picture.save(self.make_parent(name)).expect("a picture");
        picture
    }

    /// A picture of one colour.
    pub fn plain(&self, name: &str, width: u32, height: u32, colour: [u8; 3]) {
        RgbImage::from_pixel(width, height, Rgb(colour))
            .save(self.make_parent(name))
            .expect("a picture");
    }

    /// A 16-bit picture whose values lie between the 8-bit levels.
    pub fn picture16(
        &self,
        name: &str,
        width: u32,
        height: u32,
    ) -> ImageBuffer<Rgb<u16>, Vec<u16>> {
        let value = |seed: u32| 4000 + (seed.wrapping_mul(2_654_435_761) >> 16) as u16 / 8 * 7;
        let picture = ImageBuffer::from_fn(width, height, |x, y| {
            Rgb([0, 1, 2].map(|channel| value((y * width + x) * 3 + channel)))
        });
        picture.save(self.make_parent(name)).expect("a picture");
        picture
    }

    /// Every file below a folder, sorted; hidden ones too. Empty if there is no such folder.
    pub fn files(&self, folder: &str) -> Vec<String> {
        fn collect(folder: &Path, root: &Path, names: &mut Vec<String>) {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    collect(&path, root, names);
                } else {
                    let name = path.strip_prefix(root).expect("below the root");
                    names.push(name.to_string_lossy().into_owned());
                }
            }
        }
        let (root, mut names) = (self.path(folder), Vec::new());
        collect(&root, &root, &mut names);
        names.sort();
        names
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_slice(&self.read(name)).expect("JSON")
    }

    fn make_parent(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        path
    }
}

impl Run {
    pub fn of(command: &mut Command) -> Self {
        // Messages must be for users whatever a developer has set.
        command.env("RUST_BACKTRACE", "1");
        let Output { status, stdout, stderr } = command.output().expect("the program starts");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let run =
            Self { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) };
        assert!(!run.stderr.contains("panicked"), "{run:?}");
        run
    }

    /// The run succeeded and said nothing on stderr.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        assert!(self.code == 0 && self.stderr.is_empty(), "{self:?}");
        self
    }

    /// The run failed with one line on stderr that has all these parts, and nothing on stdout.
    #[track_caller]
    pub fn fails(&self, parts: &[&str]) {
        assert_eq!(self.code, 1, "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        self.one_error(parts);
    }

    /// The run failed; what it said before its one error is progress.
    #[track_caller]
    pub fn one_error_at_end(&self, parts: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (1, ""), "{self:?}");
        let errors = self.stderr.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(errors, 1, "{self:?}");
        self.error(parts);
    }

    /// Stderr is one line, `error: ` and a sentence with all these parts.
    #[track_caller]
    pub fn one_error(&self, parts: &[&str]) {
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        self.error(parts);
    }

    /// One of the lines on stderr is an error with all these parts.
    #[track_caller]
    pub fn error(&self, parts: &[&str]) {
        let found = self.stderr.lines().any(|line| {
            line.starts_with("error: ") && parts.iter().all(|part| line.contains(part))
        });
        assert!(found, "no error with {parts:?}: {self:?}");
    }
}

/// A narrow model with all fixes that returns its input.
pub fn small_model() -> Model {
    model(&ModelConfig::small(), Initialisation::Identity)
}

pub fn model(config: &ModelConfig, initialisation: Initialisation) -> Model {
    Model::new(config, initialisation, 3, DType::F32, &Device::Cpu).expect("a model")
}
