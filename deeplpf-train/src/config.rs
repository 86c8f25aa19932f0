//! The configuration of a training run: one TOML file, every key with a default, unknown keys
//! refused.

use std::path::{Path, PathBuf};

use deeplpf_core::{Initialisation, LossConfig, ModelConfig, Precision};
use deeplpf_data::{augment::ColourAugmentation, feed::Preparation};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use toml::{Table, Value};

use crate::{AdamConfig, Result, ScheduleConfig, TrainError};

/// Everything that decides a run. The defaults are the release's training on the sample set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// The run folder.
    pub run: PathBuf,
    /// Seed of initialisation, order, dropout and augmentation.
    pub seed: u64,
    /// Passes over the training pairs.
    pub epochs: u64,
    /// Where to compute: `auto`, `cpu` or `cuda:N`.
    pub device: String,
    /// Numbers of the convolutions on a GPU: `fp32`, `tf32` or `bf16`. Weights, moments, filters and
    /// loss are in single precision whatever it is; the CPU computes in `fp32`.
    pub precision: Precision,
    /// What computes loss and gradients on a CPU: `direct`, or `graph`, candle's, which is several
    /// times slower and agrees up to rounding. Without effect on a GPU.
    pub engine: StepEngine,
    /// How the weights start.
    pub initialisation: Initialisation,
    /// Weights to start from instead (a checkpoint of the same model); empty for none.
    pub weights: PathBuf,
    /// Validation PSNR every so many epochs, and after the last.
    pub validate_every: u64,
    /// Steps after which the state is saved, besides with every validation; 0: with those only.
    pub save_every: u64,
    /// Validations in a row without a better PSNR after which the run ends; 0: never.
    pub patience: u64,
    /// Decay of the moving average of the weights, e.g. 0.999; validation and checkpoints are then
    /// the average's. 0: no average, as in the release.
    pub average: f64,
    /// Steps from one point of the loss's curve in TensorBoard to the next, with which come pictures
    /// and distributions of each validation, in the run folder's `tensorboard/`; 0: nothing is
    /// written for it.
    pub tensorboard: u64,
    /// The photographs.
    pub data: DataConfig,
    /// The network.
    pub model: ModelConfig,
    /// The loss.
    pub loss: LossConfig,
    /// The optimiser.
    pub adam: AdamConfig,
    /// The learning rate over the run.
    pub schedule: ScheduleConfig,
    /// What happens to steps that go wrong.
    pub guard: GuardConfig,
}

/// What happens to steps whose loss or gradient is not a finite number, or whose loss is too large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuardConfig {
    /// `stop` the run with the step, its photographs and the value; or `skip` the step and count it.
    pub on_failure: OnFailure,
    /// A loss above this is a failure; 0: no limit.
    pub max_loss: f64,
}

/// What computes loss and gradients on a CPU. Both give the same numbers up to rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepEngine {
    /// [`deeplpf_core::TrainingStep`]: one straight program on memory that is used again.
    #[default]
    Direct,
    /// candle's graph: several times slower, and the reference.
    Graph,
}

/// See [`GuardConfig`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The run ends; its last state is kept.
    #[default]
    Stop,
    /// The step changes nothing; the epoch's record says how many there were.
    Skip,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            run: "runs/train".into(),
            seed: 1,
            epochs: 100,
            device: "auto".into(),
            precision: Precision::Fp32,
            engine: StepEngine::Direct,
            initialisation: Initialisation::Release,
            weights: PathBuf::new(),
            validate_every: 1,
            save_every: 0,
            patience: 0,
            average: 0.0,
            tensorboard: 0,
            data: DataConfig::default(),
            model: ModelConfig::default(),
            loss: LossConfig::default(),
            adam: AdamConfig::default(),
            schedule: ScheduleConfig::default(),
            guard: GuardConfig::default(),
        }
    }
}

/// Which pairs, and how they are fed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// `sample` for the embedded set, or a folder with input/ and a target folder.
    pub source: String,
    /// Empty for pairs of photographs; `sid-sony` or `sid-fuji` for `source` a folder of
    /// See-in-the-Dark, with its own lists. `model.input` then says what the network is given.
    pub protocol: String,
    /// The target folder's name, where there are several; empty: the only one.
    pub target: String,
    /// List of training ids, one per line; empty: all that are not in another list.
    pub train: PathBuf,
    /// List of validation ids; empty: `valid_fraction` of the rest, drawn by the seed.
    pub valid: PathBuf,
    /// List of ids to leave out of both (a test set); empty for none.
    pub exclude: PathBuf,
    /// Share of the pairs for validation where no list is given.
    pub valid_fraction: f64,
    /// Images per step. Above 1, `crop` must be set, because sizes differ.
    pub batch: usize,
    /// Side of the random square crops in pixels (of the packed input, where it is one); 0 for whole
    /// images.
    pub crop: usize,
    /// Sides of which every batch draws one for its crops, instead of `crop`: the network then sees
    /// pictures of several sizes.
    pub crops: Vec<usize>,
    /// Batches whose gradients are averaged for one step: as one batch of all their images, in the
    /// memory of one of them, also where whole images differ in size.
    pub accumulate: usize,
    /// The release's augmentation: half of the images are, with even odds each, mirrored and
    /// turned upside down.
    pub flips: bool,
    /// Changes of exposure and colour; off by default, as in the release.
    pub augment: ColourAugmentation,
    /// Folder for a file of decoded pairs, so that each picture is decoded once: `auto` for
    /// `.deeplpf-cache` in the data folder, or, where that cannot be written to, `cache` in the run
    /// folder; empty for none. Whether there is one, the run is the same.
    pub cache: String,
    /// Threads that decode and prepare pictures ahead of their use; 0 for none. Whatever the number,
    /// the run is the same.
    pub threads: usize,
}

impl DataConfig {
    /// What is done with every pair of a batch whose crops have the side `crop` (0: whole images).
    pub fn preparation(&self, crop: usize) -> Preparation {
        Preparation { crop, flips: self.flips, colour: self.augment }
    }
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            source: "sample".into(),
            protocol: String::new(),
            target: String::new(),
            train: PathBuf::new(),
            valid: PathBuf::new(),
            exclude: PathBuf::new(),
            valid_fraction: 0.1,
            batch: 1,
            crop: 0,
            crops: Vec::new(),
            accumulate: 1,
            flips: true,
            augment: ColourAugmentation::default(),
            cache: String::new(),
            // A picture of 512 pixels decodes in some 10 ms; with two threads a step waits for a
            // pair for about 10 ms at most.
            threads: 2,
        }
    }
}

impl TrainConfig {
    /// Reads a file and applies `key=value` settings on top.
    ///
    /// # Errors
    /// A file that cannot be read or parsed, an unknown key (with the nearest one), or a value out
    /// of range.
    pub fn read(path: &Path, settings: &[String]) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(TrainError::io("read", path))?;
        let text = String::from_utf8(bytes).map_err(|_| TrainError::Config {
            path: path.display().to_string(),
            reason: "not a text file; a configuration is TOML (see --print-config)".into(),
        })?;
        let config: Self = parse(&text, &path.display().to_string(), settings)?;
        config.validate(&path.display().to_string())?;
        Ok(config)
    }

    /// Checks what types cannot.
    ///
    /// # Errors
    /// [`TrainError::Config`] naming the key.
    pub fn validate(&self, path: &str) -> Result<()> {
        let refuse =
            |reason: &str| Err(TrainError::Config { path: path.into(), reason: reason.into() });
        self.model.validate()?;
        let sid = crate::sid::protocol(self, path)?;
        if sid.is_some() && self.data.source == "sample" {
            return refuse("data.protocol needs data.source, the folder of See-in-the-Dark");
        }
        let rate = self.adam.learning_rate;
        if !(rate.is_finite() && rate > 0.0) {
            return refuse("adam.learning_rate must be a positive number");
        }
        let AdamConfig { beta1, beta2, epsilon, .. } = self.adam;
        if !((0.0..1.0).contains(&beta1) && (0.0..1.0).contains(&beta2)) {
            return refuse("adam.beta1 and adam.beta2 must be at least 0 and below 1");
        }
        if !(epsilon.is_finite() && epsilon > 0.0) {
            return refuse("adam.epsilon must be a positive number");
        }
        let AdamConfig { clip_norm, backbone_rate, heads_rate, .. } = self.adam;
        if [clip_norm, backbone_rate, heads_rate].iter().any(|v| !(v.is_finite() && *v >= 0.0)) {
            return refuse(
                "adam.clip_norm, adam.backbone_rate and adam.heads_rate must not be negative",
            );
        }
        if backbone_rate == 0.0 && heads_rate == 0.0 {
            return refuse(
                "adam.backbone_rate and adam.heads_rate are both 0: nothing would train",
            );
        }
        if !(0.0..=1.0).contains(&self.schedule.floor) {
            return refuse("schedule.floor must be between 0 and 1");
        }
        if !(0.0..1.0).contains(&self.average) {
            return refuse("average must be at least 0 (none) and below 1, e.g. 0.999");
        }
        if !(self.guard.max_loss.is_finite() && self.guard.max_loss >= 0.0) {
            return refuse("guard.max_loss must be 0 (no limit) or a positive number");
        }
        let LossConfig { lab, ms_ssim } = self.loss;
        if !(lab >= 0.0 && ms_ssim >= 0.0 && lab + ms_ssim > 0.0 && (lab + ms_ssim).is_finite()) {
            return refuse("loss.lab and loss.ms_ssim must not be negative, and not both 0");
        }
        let lists = [&self.data.train, &self.data.valid, &self.data.exclude];
        let named = lists.iter().any(|list| !list.as_os_str().is_empty());
        if self.data.source == "sample" && (named || !self.data.target.is_empty()) {
            return refuse(
                "data.source = \"sample\" is the embedded set, which has its own split; \
                 data.train, data.valid, data.exclude and data.target go with a folder \
                 (write ./sample for a folder of that name)",
            );
        }
        if self.data.source == "sample" && !self.data.cache.is_empty() {
            return refuse("data.cache goes with a folder; the embedded set is in memory");
        }
        if self.data.batch == 0 {
            return refuse("data.batch must be at least 1");
        }
        let DataConfig { crop, crops, .. } = &self.data;
        if !crops.is_empty() && *crop != 0 {
            return refuse("data.crop and data.crops do not go together; leave one out");
        }
        if self.data.batch > 1 && *crop == 0 && crops.is_empty() {
            return refuse(
                "data.batch above 1 needs data.crop or data.crops, because whole images differ in \
                 size; or set data.accumulate, which takes them one by one",
            );
        }
        if self.data.accumulate == 0 {
            return refuse("data.accumulate must be at least 1");
        }
        if crops.iter().any(|&side| side < deeplpf_core::MIN_SIDE) {
            return refuse("data.crops must be at least 32 each");
        }
        if self.data.crop != 0 && self.data.crop < deeplpf_core::MIN_SIDE {
            return refuse("data.crop must be 0 or at least 32");
        }
        if let Some(name) = self.data.augment.invalid() {
            return refuse(&format!(
                "data.augment.{name} must be at least 0 and at most {}",
                if name == "saturation" { 1.0 } else { ColourAugmentation::MOST_EV }
            ));
        }
        if !(0.0..1.0).contains(&self.data.valid_fraction) {
            return refuse("data.valid_fraction must be at least 0 and below 1");
        }
        if self.validate_every == 0 {
            return refuse("validate_every must be at least 1");
        }
        if self.epochs == 0 {
            return refuse("epochs must be at least 1");
        }
        Ok(())
    }

    /// The file's text.
    pub fn to_toml(&self) -> String {
        // Every field is a TOML type, so this cannot fail.
        toml::to_string_pretty(self).unwrap_or_default()
    }

    /// The first key that differs from `other`, but for threads, cache, and epochs where the
    /// schedule lets them.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let tables = [self, other].map(|config| {
            // What decides how fast a run is, not what it computes, may change as well.
            let data = DataConfig { threads: 0, cache: String::new(), ..config.data.clone() };
            let epochs = if config.schedule.needs_length() { config.epochs } else { 0 };
            let config = TrainConfig {
                epochs,
                run: PathBuf::new(),
                save_every: 0,
                tensorboard: 0,
                data,
                ..config.clone()
            };
            Table::try_from(config).unwrap_or_default()
        });
        first_difference(&tables[0], &tables[1], "")
    }
}

/// The first key, dotted, that differs, with both values; `prefix` stands before it.
pub(crate) fn first_difference(ours: &Table, theirs: &Table, prefix: &str) -> Option<String> {
    ours.iter().find_map(|(key, value)| match (value, theirs.get(key)) {
        (Value::Table(ours), Some(Value::Table(theirs))) => {
            first_difference(ours, theirs, &format!("{prefix}{key}."))
        }
        (ours, Some(theirs)) if ours == theirs => None,
        (ours, theirs) => Some(format!(
            "{prefix}{key} was {ours}, now {}",
            theirs.map_or("absent".into(), Value::to_string)
        )),
    })
}

/// Parses TOML into a configuration whose defaults are all present when it is serialised, applies
/// `key=value` settings, and refuses unknown keys with the nearest known one.
///
/// # Errors
/// See [`TrainError::UnknownKey`] and [`TrainError::Config`]; `path` names the source in both.
pub fn parse<T: Default + Serialize + DeserializeOwned>(
    text: &str,
    path: &str,
    settings: &[String],
) -> Result<T> {
    let invalid = |reason: String| TrainError::Config { path: path.into(), reason };
    let mut table: Table =
        toml::from_str(text).map_err(|error| invalid(error.to_string().trim_end().into()))?;
    let known = Table::try_from(T::default()).map_err(|error| invalid(error.to_string()))?;
    refuse_unknown(&table, &known, "", &|key, nearest| TrainError::UnknownKey {
        path: path.into(),
        line: line_of(text, key),
        key: key.into(),
        nearest,
    })?;
    // Without settings the text itself is parsed, so that errors carry line and column.
    if settings.is_empty() {
        return toml::from_str(text).map_err(|error| invalid(error.to_string().trim_end().into()));
    }
    let _: T =
        toml::from_str(text).map_err(|error| invalid(error.to_string().trim_end().into()))?;
    for setting in settings {
        apply_setting(&mut table, setting)?;
        refuse_unknown(&table, &known, "", &|key, nearest| TrainError::UnknownKey {
            path: format!("--set {setting}"),
            line: None,
            key: key.into(),
            nearest,
        })?;
    }
    // The file alone is valid, so what is wrong came with a setting.
    table.try_into().map_err(|error: toml::de::Error| TrainError::Config {
        path: settings
            .iter()
            .map(|setting| format!("--set {setting}"))
            .collect::<Vec<_>>()
            .join(" "),
        reason: error.to_string().trim().replace('\n', " "),
    })
}

/// Refuses keys of `table` that `T` does not have, with the nearest known one. `prefix` stands before
/// the keys, which are looked for in `text` to say their line.
///
/// # Errors
/// [`TrainError::UnknownKey`].
pub fn check_keys<T: Default + Serialize>(
    table: &Table,
    prefix: &str,
    text: &str,
    path: &str,
) -> Result<()> {
    let known = Table::try_from(T::default())
        .map_err(|error| TrainError::Config { path: path.into(), reason: error.to_string() })?;
    refuse_unknown(table, &known, prefix, &|key, nearest| TrainError::UnknownKey {
        path: path.into(),
        line: line_of(text, key),
        key: key.into(),
        nearest,
    })
}

fn refuse_unknown(
    table: &Table,
    known: &Table,
    prefix: &str,
    error: &dyn Fn(&str, String) -> TrainError,
) -> Result<()> {
    for (key, value) in table {
        match (known.get(key), value) {
            (None, _) => {
                let nearest = nearest_key(key, known);
                return Err(error(&format!("{prefix}{key}"), format!("{prefix}{nearest}")));
            }
            // An empty table in the defaults is free-form: its reader checks it.
            (Some(Value::Table(known)), Value::Table(table)) if !known.is_empty() => {
                refuse_unknown(table, known, &format!("{prefix}{key}."), error)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn nearest_key(key: &str, known: &Table) -> String {
    known
        .keys()
        .min_by_key(|candidate| strsim::damerau_levenshtein(candidate, key))
        .cloned()
        .unwrap_or_default()
}

/// The line on which the last part of a dotted key stands before an equals sign or in a header.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let last = key.rsplit('.').next()?;
    let named = |line: &str| {
        let line = line.trim();
        let left = line.split('=').next().unwrap_or(line).trim().trim_matches(['[', ']', '"']);
        left.rsplit('.').next().map(str::trim) == Some(last)
    };
    text.lines().position(named).map(|index| index + 1)
}

fn apply_setting(table: &mut Table, setting: &str) -> Result<()> {
    let invalid = |reason: &str| TrainError::Config {
        path: format!("--set {setting}"),
        reason: reason.into(),
    };
    let (key, value) = setting.split_once('=').ok_or_else(|| invalid("write it as key=value"))?;
    // A bare word is a string; everything else is TOML.
    let value = toml::from_str::<Table>(&format!("value = {}", value.trim()))
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| Value::String(value.trim().into()));
    let mut parts: Vec<&str> = key.trim().split('.').collect();
    let Some(last) = parts.pop().filter(|last| !last.is_empty()) else {
        return Err(invalid("the key is empty"));
    };
    let mut table = table;
    for part in parts {
        table = match table.entry(part).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(inner) => inner,
            _ => return Err(invalid("the key goes through a value that is not a table")),
        };
    }
    table.insert(last.into(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, settings: &[&str]) -> Result<TrainConfig> {
        let settings: Vec<String> = settings.iter().map(|s| s.to_string()).collect();
        parse(text, "train.toml", &settings)
    }

    #[test]
    fn round_trip() {
        let config = TrainConfig::default();
        assert_eq!(read(&config.to_toml(), &[]).unwrap(), config);
    }

    #[test]
    fn unknown_keys_name_line_and_nearest() {
        let error = read("seed = 3\n\n[adam]\nlerning_rate = 1e-3\n", &[]).unwrap_err().to_string();
        assert_eq!(
            error,
            "train.toml:4: unknown key `adam.lerning_rate`; did you mean `adam.learning_rate`?"
        );
        let error = read("", &["model.graduate=2"]).unwrap_err().to_string();
        assert!(error.contains("did you mean `model.graduated`?"), "{error}");
    }

    #[test]
    fn settings_override_the_file() {
        let config = read(
            "epochs = 3\n[model]\nfixes = [\"ste\"]",
            &["epochs=7", "model.fixes=all", "data.source=some/folder", "adam.learning_rate=3e-4"],
        )
        .unwrap();
        assert_eq!(config.epochs, 7);
        assert_eq!(config.model.fixes, deeplpf_core::Fixes::ALL);
        assert_eq!(config.data.source, "some/folder");
        assert_eq!(config.adam.learning_rate, 3e-4);
    }

    #[test]
    fn wrong_types_and_values_are_named() {
        let error = read("epochs = \"many\"", &[]).unwrap_err().to_string();
        assert!(error.contains("line 1") && error.contains("epochs"), "{error}");
        let config = TrainConfig {
            data: DataConfig { batch: 4, ..DataConfig::default() },
            ..TrainConfig::default()
        };
        assert!(config.validate("x").unwrap_err().to_string().contains("data.crop"));
        for (setting, key) in [
            ("adam.beta2=1.0", "adam.beta1 and adam.beta2"),
            ("adam.epsilon=nan", "adam.epsilon"),
            ("loss.lab=-3", "loss.lab"),
            ("data.train=list.txt", "has its own split"),
        ] {
            let error = read("", &[setting]).unwrap().validate("x").unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
        let error = read("seed = 2", &["epochs=many"]).unwrap_err().to_string();
        assert!(error.starts_with("--set epochs=many: ") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn difference_ignores_epochs() {
        let config = TrainConfig::default();
        let longer = TrainConfig { epochs: 1000, ..config.clone() };
        assert_eq!(config.difference(&longer), None);
        let other = TrainConfig { seed: 2, ..config.clone() };
        assert_eq!(config.difference(&other).unwrap(), "seed was 1, now 2");
    }
}
