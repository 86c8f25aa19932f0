//! What a mixed set is made of.

use serde::{Deserialize, Serialize};

use super::MixError;
use crate::augment::ColourAugmentation;
use crate::layout::id_of;

/// A set made of parts of several sets.
///
/// ```toml
/// short_edge = 176        # px; larger pictures are made smaller, 0 keeps every size
/// multiple_of = 8         # sides become multiples of it, so that a U-Net need not pad
///
/// [[source]]
/// folder = "fivek-pairs"  # of any layout, below the folder the plan is read for
/// prefix = "fivek-"       # before the ids, so that those of two sets differ
/// test = ["a4514", "a4591"]
/// valid = { every = 20, first = 5 }
/// copies = 4              # how often a training pair occurs
/// exposure = 0.5          # how far the copies' inputs are exposed otherwise, in EV
/// white_balance = 0.1     # the same of their white balance
/// unchanged = 20          # so many of the training targets are also pairs of their own: see Source
/// grey = 60               # so many training pairs also occur in black and white
/// over_exposed = { pairs = 80, most = 1.8 }   # so many, of the targets, by up to so many EV
/// under_exposed = { pairs = 80, most = 4.0 }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MixPlan {
    /// Length in px of the shorter side of a picture that is larger; 0: sizes stay.
    pub short_edge: u32,
    /// Sides of resized pictures are the nearest multiples of it.
    pub multiple_of: u32,
    /// The sets.
    pub source: Vec<Source>,
}

impl Default for MixPlan {
    fn default() -> Self {
        Self { short_edge: 0, multiple_of: 1, source: Vec::new() }
    }
}

/// One of the sets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Source {
    /// A folder of any [`Layout`](crate::layout::Layout), relative to the one given with the plan.
    pub folder: String,
    /// Name of its target folder; empty: it has one.
    pub target: String,
    /// Written before each id.
    pub prefix: String,
    /// The pairs that are for the test, and nothing else.
    pub test: Choice,
    /// The pairs for validation, of those that are not for the test.
    pub valid: Choice,
    /// How often each training pair occurs, at least once; the ids of the others begin with `copy2-`
    /// and so on.
    pub copies: u32,
    /// How far the inputs of the copies, from the second on, are exposed otherwise, in EV:
    /// [`ColourAugmentation::exposure`](crate::augment::ColourAugmentation). The target stays what
    /// the retoucher made. Changes are spread evenly over the copies of the source, not drawn.
    pub exposure: f64,
    /// The same of the white balance.
    pub white_balance: f64,
    /// So many training pairs, evenly chosen, whose target is also an input that stays as it is: what
    /// has been retouched needs nothing more. Their ids begin with `unchanged-`.
    pub unchanged: usize,
    /// So many training pairs, evenly chosen, that also occur as their grey values: what has no
    /// colour gets none. Their ids begin with `grey-`.
    pub grey: usize,
    /// So many training targets, evenly chosen, that also occur over-exposed as an input: what is
    /// asked for is the target at half the over-exposure, white where the input is white. Half, for
    /// the filters can take at most half of a pixel away (Y = Y3 + Y1 with Y3 = 0, Y1 half the
    /// image), and what they cannot reach drives the maps to zero, from where no gradient leads back;
    /// white, for what a sensor has lost is not to be made grey. Their ids begin with `over-`.
    pub over_exposed: Exposed,
    /// So many training targets, evenly chosen, that also occur under-exposed as an input. Their ids
    /// begin with `under-`.
    pub under_exposed: Exposed,
}

/// Targets that occur as inputs at another exposure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Exposed {
    /// How many.
    pub pairs: usize,
    /// By how many EV at most; exposures are spread evenly from nothing to it, not drawn.
    pub most: f64,
}

impl Default for Source {
    fn default() -> Self {
        Self {
            folder: String::new(),
            target: String::new(),
            prefix: String::new(),
            test: Choice::default(),
            valid: Choice::default(),
            copies: 1,
            exposure: 0.0,
            white_balance: 0.0,
            unchanged: 0,
            grey: 0,
            over_exposed: Exposed::default(),
            under_exposed: Exposed::default(),
        }
    }
}

/// Some of a set's pairs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "write a list of ids, or { every = N, first = N }")]
pub enum Choice {
    /// By their ids: file names without extension, or FiveK's short ones (`a0001`).
    Ids(Vec<String>),
    /// Those at places `first`, `first + every`, ... of the natural order of ids, from 0.
    Every(Every),
}

/// Every so many pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Every {
    /// The distance from one to the next, at least 1.
    pub every: usize,
    /// The first one's place.
    #[serde(default)]
    pub first: usize,
}

impl Default for Choice {
    /// None.
    fn default() -> Self {
        Self::Ids(Vec::new())
    }
}

impl Choice {
    /// Which of these ids are chosen.
    pub(super) fn among(&self, folder: &str, ids: &[&str]) -> Result<Vec<bool>, MixError> {
        match self {
            Self::Ids(wanted) => {
                let mut chosen = vec![false; ids.len()];
                for id in wanted {
                    let same = |known: &&str| *known == id || *known == id_of(id);
                    let at = ids.iter().position(same).ok_or_else(|| MixError::UnknownId {
                        folder: folder.into(),
                        id: id.clone(),
                    })?;
                    chosen[at] = true;
                }
                Ok(chosen)
            }
            Self::Every(Every { every: 0, .. }) => {
                Err(MixError::Plan { reason: format!("{folder}: `every` must be at least 1") })
            }
            Self::Every(Every { every, first }) => {
                Ok((0..ids.len()).map(|at| at >= *first && (at - first) % every == 0).collect())
            }
        }
    }
}

impl MixPlan {
    /// # Errors
    /// [`MixError::Plan`]: no source, a number out of range, a prefix that cannot begin a file's name.
    pub(super) fn check(&self) -> Result<(), MixError> {
        let refuse = |reason: String| Err(MixError::Plan { reason });
        if self.source.is_empty() {
            return refuse("it has no [[source]]".into());
        }
        if self.multiple_of == 0 || self.multiple_of > 1024 {
            return refuse("multiple_of must be at least 1 and at most 1024".into());
        }
        if self.short_edge != 0 && self.short_edge < self.multiple_of.max(16) {
            return refuse("short_edge must be 0, or at least 16 and multiple_of".into());
        }
        for source in &self.source {
            let Source { folder, prefix, copies, exposure, white_balance, .. } = source;
            if folder.is_empty() {
                return refuse("a [[source]] has no folder".into());
            }
            if *copies == 0 || *copies > 1000 {
                return refuse(format!("{folder}: copies must be at least 1 and at most 1000"));
            }
            let most = ColourAugmentation::MOST_EV;
            for (name, value) in [("exposure", *exposure), ("white_balance", *white_balance)] {
                if !(0.0..=most).contains(&value) {
                    return refuse(format!("{folder}: {name} must be from 0 to {most} EV"));
                }
                if value > 0.0 && *copies == 1 {
                    return refuse(format!(
                        "{folder}: {name} changes the second copy and those after it; set copies"
                    ));
                }
            }
            let Source { over_exposed, under_exposed, .. } = source;
            for (name, Exposed { pairs, most: ev }) in
                [("over_exposed", over_exposed), ("under_exposed", under_exposed)]
            {
                if !(0.0..=most).contains(ev) || (*pairs > 0 && *ev == 0.0) {
                    return refuse(format!(
                        "{folder}: {name}.most must be above 0 and at most {most} EV"
                    ));
                }
            }
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if !prefix.chars().all(plain) || prefix.starts_with('-') {
                return refuse(format!(
                    "{folder}: the prefix {prefix:?} must be letters, digits, - and _"
                ));
            }
        }
        Ok(())
    }
}
