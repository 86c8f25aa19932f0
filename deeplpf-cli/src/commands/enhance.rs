//! `deeplpf enhance`.

mod parameters_file;
mod pipeline;
mod progress;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use deeplpf_core::{
    Compute, DType, Device, EnhanceOptions, Enhancer, MAX_STRENGTH, Model, ModelConfig, Precision,
    PredictedParameters, RowSource, Selection,
};
use deeplpf_data::{
    DataError, DecodeLimits, EncodeOptions, OutputFormat, Picture, Rendering, find_each,
    picture::JPEG_QUALITY,
};

use self::parameters_file::{Given, Origin};
use self::pipeline::Steps;
use self::progress::Progress;
use super::exit_code;
use crate::console;
use crate::default_weights;
use crate::destination::{Destination, Inputs, Job};
use crate::model_options::ModelOptions;

/// The arguments.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Photographs, or folders of photographs (PNG, JPEG, TIFF, WebP; 8 or 16 bit).
    ///
    /// A folder stands for the pictures directly in it. Colour profile and EXIF orientation are
    /// applied. Results are named after their input's stem; inputs that share one all fail.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,

    /// Where the result goes: a file (.png, .jpg, .tif, .npy) for one input file, else a folder,
    /// which is made if it is missing [default: beside the photograph, photo-enhanced.jpg]
    ///
    /// Beside its photograph a result has the photograph's format, JPEG quality and colour profile
    /// (WebP becomes PNG, a TIFF has 16 bits), and never replaces a file without --force.
    #[arg(short, long, value_name = "OUT")]
    out: Option<PathBuf>,

    /// Without --out: replace results that are there already.
    #[arg(long, conflicts_with = "out")]
    force: bool,

    /// Trained weights: a .safetensors file of `deeplpf train`, or the authors' .pt file
    /// [default: those built into the program]
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,

    /// Where to compute: `auto`, `cpu` or `cuda:N`.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,

    /// Numbers of the convolutions on a GPU: fp32, tf32 or bf16; the CPU computes in fp32.
    #[arg(long, value_name = "PRECISION", default_value_t)]
    precision: Precision,

    #[command(flatten)]
    model: ModelOptions,

    /// The format of the results; by default that of OUT's extension, and PNG in a folder.
    ///
    /// png and jpeg have 8 bits per channel, png16 and tiff16 have 16, all rounded to the
    /// nearest; npy holds float32 values, height x width x 3, neither clamped nor rounded.
    /// Without this option a PNG has 16 bits where its photograph has, and a TIFF always.
    #[arg(long, value_parser = format_parser())]
    format: Option<OutputFormat>,

    /// JPEG quality, 1 to 100 on libjpeg's scale; colour is kept at full resolution (4:4:4)
    /// [default: 95, or without --out the photograph's own]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: Option<u8>,

    /// Convert results back to the photograph's own ICC profile and tag them with it.
    ///
    /// Without it results are sRGB and tagged so. Enhancing happens in sRGB: colours outside it are
    /// clipped either way. Possible for RGB profiles of curves and primaries (Adobe RGB, Display P3,
    /// ProPhoto, ...); a photograph with a grey profile or one of tables fails by name.
    #[arg(long)]
    keep_profile: bool,

    /// Leave out EXIF: camera, settings, date, place.
    ///
    /// Without it EXIF is kept in PNG, JPEG and TIFF, with orientation and size put right and
    /// without the thumbnail, which would show the old picture. XMP and IPTC are never kept.
    #[arg(long)]
    strip_metadata: bool,

    /// Also write `<stem>.params.json` beside each result: every parameter of every filter, as
    /// the network's raw numbers and as named geometry.
    #[arg(long)]
    save_params: bool,

    /// Apply the filters of this file, written by --save-params and perhaps edited, instead of those
    /// the network would predict.
    ///
    /// The weights must be the file's: the filters work on what their backbone makes of the
    /// photograph. One file may serve many photographs; places and lengths are shares of the
    /// picture.
    #[arg(long, value_name = "FILE")]
    params: Option<PathBuf>,

    /// How much of the change is applied, 0 to 1.5: 0 leaves the photograph as it is, 1 is the
    /// network's result, more exaggerates it [default: 1, or what --params says]
    ///
    /// The filters' parameters are scaled towards neutral, not the pixels mixed.
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    strength: Option<f32>,

    /// What becomes of highlights, where the photograph is white or nearly so.
    ///
    /// `keep`: they stay as light as they are, for what is white because the sensor was full can only
    /// become grey. `change`: they are what the network makes of them, like everything else
    /// [default: what --params says; else keep with the weights built into the program, change with
    /// others].
    #[arg(long, value_name = "WHAT", value_enum)]
    highlights: Option<Highlights>,

    /// Rows of a photograph that are worked on at once; by default chosen by its width.
    ///
    /// The result is the same. More rows take more memory; fewer than the default, which is 16 for
    /// wide photographs, save little. More rows than the photograph has means the whole of it.
    #[arg(long, value_name = "ROWS", value_parser = at_least_one)]
    tile: Option<NonZeroUsize>,

    /// Threads that compute; by default one for each core.
    ///
    /// The result is the same for any number. Of several photographs the next is read and the one
    /// before written meanwhile, on two more threads; with 1 everything happens on one core.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    threads: Option<NonZeroUsize>,
}

/// See [`Args::highlights`].
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Highlights {
    Keep,
    Change,
}

const EXAMPLES: &str = "\
Examples:
  One photograph, into photo-enhanced.jpg beside it:
    deeplpf enhance photo.jpg
  Elsewhere:
    deeplpf enhance photo.jpg -o better.png
  A folder, as 16 bit TIFF, with the filters' parameters beside each:
    deeplpf enhance photos -o results --format tiff16 --save-params
  For the web: smaller files that do not tell where they were taken:
    deeplpf enhance photos -o web --format jpeg --quality 85 --strip-metadata
  Less of it; or with filters edited by hand:
    deeplpf enhance photo.jpg -o less.png --strength 0.6
    deeplpf enhance photo.jpg -o mine.png --params better.params.json
  An Adobe RGB photograph that stays one:
    deeplpf enhance photo.tif -o better.tif --keep-profile
  Highlights as the network makes them, too:
    deeplpf enhance photo.jpg --highlights change
  Weights of your own training:
    deeplpf enhance photo.jpg --weights best.safetensors
  The authors' published weights, with all corrections of their program:
    deeplpf enhance photo.jpg -o better.png --weights deeplpf.pt --fixes all

A photograph that cannot be enhanced is named on stderr, the others are still processed, and the \
exit status is 1. A result replaces an older file of its name. Interrupting (Ctrl-C) leaves the \
results that are whole and nothing else.";

/// More threads than any machine this could run on has cores; far more would exhaust it.
const MOST_THREADS: usize = 4096;

fn format_parser() -> impl TypedValueParser<Value = OutputFormat> {
    PossibleValuesParser::new(OutputFormat::ALL.map(OutputFormat::name))
        .try_map(|name| name.parse::<OutputFormat>())
}

fn at_least_one(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| {
        format!(
            "it must be a whole number of at least 1 and at most {}; leave the option out to have it chosen",
            usize::MAX
        )
    })
}

/// Enhances every input.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut found = find_each(&args.inputs);
    if args.inputs.len() == 1 && found.images.is_empty() && found.problems.len() == 1 {
        return Err(found.problems.remove(0).into());
    }
    let inputs = match &args.inputs[..] {
        [one] if !one.is_dir() => Inputs::One,
        _ => Inputs::Many,
    };
    let destination = match &args.out {
        Some(out) => Destination::new(out, args.format, inputs)?,
        None => Destination::beside(&args.inputs, args.format, args.force)?,
    };
    let encode_options = args.encode_options(&destination)?;
    let jobs = destination.jobs(found.images)?;
    args.use_threads()?;

    let checkpoint = default_weights::read(args.weights.as_deref())?;
    let asked = args.model.configuration(&checkpoint);
    let selection = Compute::select(&args.device)?;
    let model = checkpoint.model(asked.as_ref(), DType::F32, &Device::Cpu)?;
    let enhancer = args.enhancer(model, selection)?;
    let options = args.enhance_options(enhancer.model().config())?;
    console::exit_cleanly_when_interrupted()?;
    destination.prepare()?;

    let mut failed = found.problems.len();
    for problem in found.problems {
        console::error(&problem.into());
    }
    let jobs: Vec<(usize, Job)> = jobs.into_iter().enumerate().collect();
    let bytes = |job: &Job| std::fs::metadata(&job.input).map_or(0, |file| file.len());
    let progress = Progress::new(jobs.iter().map(|(_, job)| bytes(job)));
    let parameters_to = args.save_params.then(|| Origin {
        weights: checkpoint.path.clone(),
        config: enhancer.model().config().clone(),
        strength: options.strength,
        keep_highlights: options.keep_highlights,
    });
    let mut enhanced = 0;
    let steps = Steps {
        decode: |(index, job): &(usize, Job)| {
            if *index == 0 {
                progress.say(format!("reading {}", job.input.display()));
            }
            Ok(Picture::open(&job.input, &DecodeLimits::default())?)
        },
        compute: |(index, job): &(usize, Job), picture: Picture| {
            progress.say(job.input.display().to_string());
            let pixels = picture.width() * picture.height();
            progress.share(*index, pixels, 0.0);
            let format = destination.format_for(&job.output, picture.info().bit_depth);
            let rendering = args.rendering(&destination, job, &picture, format, &encode_options)?;
            let made = Made::from_picture(&enhancer, &picture, rendering, &options, &mut |share| {
                progress.share(*index, pixels, share)
            });
            made.with_context(|| job.input.display().to_string())
        },
        encode: |(_, job): &(usize, Job), made: Made| {
            if jobs.len() == 1 {
                progress.say(format!("writing {}", job.output.display()));
            }
            made.write(job, parameters_to.as_ref(), &progress)
        },
        finish: |(index, _): &(usize, Job), result: anyhow::Result<()>| match result {
            Ok(()) => enhanced += 1,
            Err(error) => {
                failed += 1;
                progress.share(index + 1, 0, 0.0);
                progress.aside(|| console::error(&error));
            }
        },
    };
    if args.threads.is_some_and(|threads| threads.get() == 1) || jobs.len() < 2 {
        steps.one_by_one(&jobs);
    } else {
        steps.overlapped(&jobs);
    }
    progress.clear();
    if inputs == Inputs::Many || failed == 0 {
        let outputs: Vec<PathBuf> = jobs.iter().map(|(_, job)| job.output.clone()).collect();
        let place = destination.describe(&outputs);
        console::print(&format!("{enhanced} enhanced, {failed} failed: {place}\n"))?;
    }
    Ok(exit_code(failed))
}

impl Args {
    /// # Errors
    /// An option that the results' format has no use for.
    fn encode_options(&self, destination: &Destination) -> anyhow::Result<EncodeOptions> {
        let format = destination.format();
        let beside = destination.is_beside() && self.format.is_none();
        if self.quality.is_some() && format != OutputFormat::Jpeg && !beside {
            bail!(
                "--quality is for JPEG, but the results are {format}; drop it or use --format jpeg"
            );
        }
        if self.keep_profile && format == OutputFormat::Npy {
            bail!("--keep-profile: an npy cannot carry a profile; drop it or use another format");
        }
        Ok(EncodeOptions {
            quality: self.quality.unwrap_or(JPEG_QUALITY),
            keep_profile: self.keep_profile,
            strip_metadata: self.strip_metadata,
        })
    }

    /// The empty result of a photograph. Beside it, it has its quality and profile, where that can be
    /// kept.
    fn rendering(
        &self,
        destination: &Destination,
        job: &Job,
        picture: &Picture,
        format: OutputFormat,
        options: &EncodeOptions,
    ) -> anyhow::Result<Rendering> {
        let size = (picture.width(), picture.height());
        let new = |options: &EncodeOptions| {
            Rendering::new(&job.output, size, format, Some(picture.info()), options)
        };
        if !destination.is_beside() {
            return Ok(new(options)?);
        }
        let quality = self.quality.or(picture.info().jpeg_quality).unwrap_or(JPEG_QUALITY);
        let options = EncodeOptions { quality, ..*options };
        match new(&EncodeOptions { keep_profile: true, ..options }) {
            Err(DataError::KeepProfile { reason, .. }) if !self.keep_profile => {
                let input = job.input.display();
                console::note(&format!(
                    "{input}: the result is sRGB, because the photograph's profile cannot be kept: {reason}"
                ));
                Ok(new(&options)?)
            }
            rendering => Ok(rendering?),
        }
    }

    /// # Errors
    /// A file of parameters that cannot be used with a model of `config`, or a strength out of
    /// range.
    fn enhance_options(&self, config: &ModelConfig) -> anyhow::Result<EnhanceOptions> {
        let mut options = EnhanceOptions {
            tile: self.tile,
            keep_highlights: self.weights.is_none(),
            ..EnhanceOptions::default()
        };
        if let Some(path) = &self.params {
            let Given { parameters, strength, keep_highlights } =
                parameters_file::read(path, config)?;
            let keep_highlights = keep_highlights.unwrap_or(options.keep_highlights);
            options =
                EnhanceOptions { given: Some(parameters), strength, keep_highlights, ..options };
        }
        if let Some(highlights) = self.highlights {
            options.keep_highlights = highlights == Highlights::Keep;
        }
        if let Some(strength) = self.strength {
            if !(0.0..=MAX_STRENGTH).contains(&strength) {
                bail!("--strength {strength} is not between 0 and {MAX_STRENGTH}");
            }
            options.strength = strength;
        }
        Ok(options)
    }

    /// On the chosen device. What `auto` comes to is said, also where its GPU cannot take this model.
    fn enhancer(&self, model: Model, selection: Selection) -> anyhow::Result<Enhancer> {
        let Some(note) = selection.note else {
            return Ok(Enhancer::on(model, &selection.compute, self.precision)?);
        };
        match Enhancer::on(model.clone(), &selection.compute, self.precision) {
            Ok(enhancer) => {
                console::note(&note);
                Ok(enhancer)
            }
            Err(error) => {
                console::note(&format!("device auto: the CPU, because {error}"));
                Ok(Enhancer::new(model)?)
            }
        }
    }

    fn use_threads(&self) -> anyhow::Result<()> {
        let Some(threads) = self.threads else { return Ok(()) };
        if threads.get() > MOST_THREADS {
            bail!("--threads {threads} is more than {MOST_THREADS}; the number of cores is best");
        }
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads.get())
            .build_global()
            .with_context(|| format!("{threads} threads cannot be started; try fewer"))
    }
}

/// A decoded picture as the enhancer reads it.
struct Rows<'a>(&'a Picture);

impl RowSource for Rows<'_> {
    fn size(&self) -> (usize, usize) {
        (self.0.height(), self.0.width())
    }

    fn read_row(&self, row: usize, planes: [&mut [f32]; 3]) {
        self.0.read_row(row, planes);
    }
}

/// A result that is not yet written.
struct Made {
    rendering: Rendering,
    parameters: PredictedParameters,
}

impl Made {
    fn from_picture(
        enhancer: &Enhancer,
        picture: &Picture,
        mut rendering: Rendering,
        options: &EnhanceOptions,
        progress: &mut dyn FnMut(f64),
    ) -> anyhow::Result<Self> {
        let parameters =
            enhancer.enhance_rows(&Rows(picture), options, progress, &mut |first, rows| {
                rendering.put_rows(first, rows);
            })?;
        Ok(Self { rendering, parameters })
    }

    /// Writes the picture and, if they are wanted, its parameters after it: parameters without
    /// their picture would only mislead.
    fn write(self, job: &Job, to: Option<&Origin>, progress: &Progress) -> anyhow::Result<()> {
        self.rendering.write()?;
        if let Some(why) = self.rendering.exif_left_out() {
            progress.aside(|| console::note(&format!("{}: {why}", job.input.display())));
        }
        let size = (self.rendering.width(), self.rendering.height());
        to.map_or(Ok(()), |to| to.write(&job.input, &job.output, size, &self.parameters))
    }
}
