//! Mixed sets hold what their plan says.

use std::fs;
use std::path::Path;

use crate::common::names;
use deeplpf_data::mix::{
    Choice, Every, Exposed, MIX_FILE, MixCounts, MixError, MixPlan, PLAIN_LIST, Source, mix,
};
use deeplpf_data::{OutputFormat, PairedFolder, Split, encode, sample};

/// A set of the sample set's first pairs.
fn set(folder: &Path, count: usize) {
    for part in ["input", "target"] {
        fs::create_dir_all(folder.join(part)).expect("made");
    }
    for pair in sample::pairs().expect("readable").iter().take(count) {
        for (part, pixels) in [("input", &pair.input), ("target", &pair.target)] {
            let path = folder.join(part).join(format!("{}.png", pair.id));
            encode(path, pixels.view(), OutputFormat::Png, None).expect("written");
        }
    }
}

fn ids(count: usize) -> Vec<String> {
    sample::pairs().expect("readable").iter().take(count).map(|pair| pair.id.clone()).collect()
}

fn plan(ids: &[String]) -> MixPlan {
    let source =
        |prefix: &str| Source { folder: "set".into(), prefix: prefix.into(), ..Source::default() };
    MixPlan {
        short_edge: 40,
        multiple_of: 8,
        source: vec![
            Source {
                test: Choice::Every(Every { every: 5, first: 1 }),
                valid: Choice::Ids(vec![ids[0].clone()]),
                copies: 3,
                ..source("a-")
            },
            Source { test: Choice::Ids(ids[..6].to_vec()), unchanged: 2, grey: 1, ..source("b-") },
        ],
    }
}

#[test]
fn a_mixed_set_is_what_its_plan_says() {
    let room = tempfile::tempdir().expect("a folder");
    set(&room.path().join("set"), 8);
    let ids = ids(8);
    let out = room.path().join("mixed");
    let counts = mix(&plan(&ids), room.path(), &out, &|_, _| {}).expect("mixed");
    // Of 8: tests 1 and 6, validation 0, five to train on three times; six tests and two to train on,
    // both of them unchanged as well, one of them grey.
    assert_eq!(counts, MixCounts { train: 5 * 3 + 2 + 2 + 1, valid: 1, test: 2 + 6 });

    let folder = PairedFolder::open(&out).expect("pairs");
    folder.require_complete().expect("complete");
    let split = Split::read_folder(&out).expect("lists");
    let parts = split.apply(&folder).expect("disjoint and all there");
    assert_eq!(parts.train.len(), counts.train);

    let read = |id: &str| folder.get(id).expect(id).load().expect("decodes");
    let id = |prefix: &str, at: usize| format!("{prefix}{}", ids[at]);
    let (first, third) = (read(&id("a-", 2)), read(&id("copy3-a-", 2)));
    assert_eq!((&first.input, &first.target), (&third.input, &third.target), "copies are equal");
    assert_ne!(first.input, first.target);
    let (_, height, width) = first.input.dim();
    assert_eq!((height.min(width), height % 8, width % 8), (40, 0, 0));

    let unchanged = read(&id("unchanged-b-", 7));
    assert_eq!(unchanged.input, unchanged.target);
    assert_eq!(unchanged.target, read(&id("b-", 7)).target);

    let (grey, colour) = (read(&id("grey-b-", 6)), read(&id("b-", 6)));
    for (grey, colour) in [(&grey.input, &colour.input), (&grey.target, &colour.target)] {
        for (y, x) in [(0, 0), (20, 30), (39, 17)] {
            let luma = 0.2126 * colour[[0, y, x]]
                + 0.7152 * colour[[1, y, x]]
                + 0.0722 * colour[[2, y, x]];
            for c in 0..3 {
                // Half a level each for the two roundings to 8 bits.
                assert!((grey[[c, y, x]] - luma).abs() <= 1.0 / 255.0 + 1e-6);
            }
        }
    }
    let record: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join(MIX_FILE)).expect("there")).expect("JSON");
    assert_eq!(record["pairs"].as_array().expect("pairs").len(), 8 + 8 + 2 + 1);

    // Once more, elsewhere: the same bytes.
    let again = room.path().join("again");
    mix(&plan(&ids), room.path(), &again, &|_, _| {}).expect("mixed");
    for name in names(&out.join("input")) {
        let read = |set: &Path| fs::read(set.join("input").join(&name)).expect("read");
        assert_eq!(read(&out), read(&again), "{name}");
    }
}

#[test]
fn what_cannot_be_mixed_is_named() {
    let room = tempfile::tempdir().expect("a folder");
    set(&room.path().join("set"), 8);
    let ids = ids(8);
    let fails = |change: &dyn Fn(&mut MixPlan), wanted: &str| {
        let mut plan = plan(&ids);
        change(&mut plan);
        let out = room.path().join("never");
        let error = mix(&plan, room.path(), &out, &|_, _| {}).expect_err(wanted);
        assert!(error.to_string().contains(wanted), "{error}");
        assert!(!out.exists(), "nothing is made for a plan that cannot be followed");
    };
    fails(&|plan| plan.source.clear(), "no [[source]]");
    fails(&|plan| plan.source[1].prefix = "a-".into(), "would be called `a-");
    fails(&|plan| plan.source[0].prefix = "../".into(), "prefix");
    fails(&|plan| plan.source[0].copies = 0, "copies");
    fails(&|plan| plan.source[0].exposure = 5.0, "exposure must be from 0 to 4 EV");
    fails(&|plan| plan.source[0].white_balance = f64::NAN, "white_balance must be");
    fails(&|plan| plan.source[1].exposure = 0.1, "set copies");
    let exposed = |pairs, most| Exposed { pairs, most };
    fails(
        &|plan| plan.source[1].over_exposed = exposed(1, 0.0),
        "over_exposed.most must be above 0",
    );
    fails(&|plan| plan.source[1].under_exposed = exposed(1, 9.0), "at most 4 EV");
    fails(
        &|plan| plan.source[1].under_exposed = exposed(3, 1.0),
        "3 under-exposed pairs are asked",
    );
    fails(&|plan| plan.source[1].unchanged = 3, "3 unchanged pairs are asked for, but it has 2");
    fails(
        &|plan| plan.source[0].valid = Choice::Ids(vec!["x".into()]),
        "names `x`, which set has not",
    );
    let zero = Every { every: 0, first: 0 };
    fails(&|plan| plan.source[0].test = Choice::Every(zero), "`every` must be at least 1");
    fails(&|plan| plan.source[0].folder = "other".into(), "other");

    let full = mix(&plan(&ids), room.path(), &room.path().join("set"), &|_, _| {});
    assert!(matches!(full, Err(MixError::Data(_))), "a folder with something in it");
}

/// Copies are exposed otherwise, each in its own way; the first and what is held out are not, and no
/// target is.
#[test]
fn copies_are_exposed_otherwise_within_bounds() {
    let room = tempfile::tempdir().expect("a folder");
    set(&room.path().join("set"), 4);
    let ids = ids(4);
    let source = Source {
        folder: "set".into(),
        test: Choice::Ids(vec![ids[3].clone()]),
        copies: 4,
        exposure: 0.5,
        white_balance: 0.1,
        ..Source::default()
    };
    let plan = MixPlan { source: vec![source], ..MixPlan::default() };
    let out = room.path().join("mixed");
    mix(&plan, room.path(), &out, &|_, _| {}).expect("mixed");
    let set = PairedFolder::open(room.path().join("set")).expect("pairs");
    let mixed = PairedFolder::open(&out).expect("pairs");
    let load = |folder: &PairedFolder, id: &str| folder.get(id).expect(id).load().expect("decodes");
    let mut means = Vec::new();
    for id in &ids[..3] {
        let original = load(&set, id);
        assert_eq!(load(&mixed, id).input, original.input);
        for copy in 2..=4 {
            let copy = load(&mixed, &format!("copy{copy}-{id}"));
            assert_eq!(copy.target, original.target);
            let mean = |pixels: &ndarray::Array3<f32>| f64::from(pixels.mean().expect("pixels"));
            let change = mean(&copy.input) / mean(&original.input);
            // 0.5 EV are at most a factor of 2^(0.5 / 2.2) or so of encoded values.
            assert!((0.8..1.25).contains(&change), "{id}: {change}");
            means.push(change);
        }
    }
    means.sort_by(f64::total_cmp);
    assert!(means.windows(2).all(|two| two[0] < two[1]), "each differs: {means:?}");
    assert!(means[0] < 0.95 && means[8] > 1.05, "both ways: {means:?}");
    assert_eq!(load(&mixed, &ids[3]).input, load(&set, &ids[3]).input);
}

/// FiveK's files have long names, of which layouts see the id alone; no two pairs become one by it.
#[test]
fn copies_of_fivek_stay_pairs_of_their_own() {
    let room = tempfile::tempdir().expect("a folder");
    set(&room.path().join("set"), 2);
    for part in ["input", "target"] {
        for (id, name) in ids(2).iter().zip(["a0001-jmac_DSC1459", "a0002-dgw_005"]) {
            let folder = room.path().join("set").join(part);
            fs::rename(folder.join(format!("{id}.png")), folder.join(format!("{name}.png")))
                .expect("renamed");
        }
    }
    let source =
        Source { folder: "set".into(), copies: 3, unchanged: 2, grey: 2, ..Source::default() };
    let plan = MixPlan { source: vec![source], ..MixPlan::default() };
    let out = room.path().join("mixed");
    let counts = mix(&plan, room.path(), &out, &|_, _| {}).expect("mixed");
    assert_eq!(counts.train, 2 * 3 + 2 + 2);
    let (_, folder) = deeplpf_data::layout::open(&out, None).expect("pairs");
    folder.require_complete().expect("complete");
    assert_eq!(folder.pairs.len(), counts.train);
}

/// What is over-exposed keeps its whites, and nothing else of the target changes.
#[test]
fn exposed_pairs_are_asked_for_the_target_but_for_lost_whites() {
    let room = tempfile::tempdir().expect("a folder");
    set(&room.path().join("set"), 8);
    let source = Source {
        folder: "set".into(),
        over_exposed: Exposed { pairs: 8, most: 2.0 },
        under_exposed: Exposed { pairs: 4, most: 3.0 },
        ..Source::default()
    };
    let plan = MixPlan { source: vec![source], ..MixPlan::default() };
    let out = room.path().join("mixed");
    let counts = mix(&plan, room.path(), &out, &|_, _| {}).expect("mixed");
    assert_eq!(counts.train, 8 + 8 + 4);
    let read = |list: &str| fs::read_to_string(out.join(list)).expect("there");
    let (all, plain) = (read("train.txt"), read(PLAIN_LIST));
    let listed: Vec<&str> = all.lines().filter(|id| !plain.lines().any(|p| p == *id)).collect();
    assert_eq!((plain.lines().count(), listed.len()), (8, 12));

    let mixed = PairedFolder::open(&out).expect("pairs");
    let load = |id: &str| mixed.get(id).expect(id).load().expect("decodes");
    let (mut white, mut lost) = (0, 0);
    for id in listed {
        let (start, of) = id.split_once('-').expect("a beginning");
        let (pair, original) = (load(id), load(of).target);
        let brighter = pair.input.mean() > original.mean();
        assert_eq!(brighter, start == "over", "{id}");
        if start == "under" {
            assert_eq!(pair.target, original, "{id}");
            continue;
        }
        for ((y, x), &first) in pair.input.index_axis(ndarray::Axis(0), 0).indexed_iter() {
            let least = (1..3).map(|c| pair.input[[c, y, x]]).fold(first, f32::min);
            for c in 0..3 {
                let (asked, before) = (pair.target[[c, y, x]], original[[c, y, x]]);
                if least == 1.0 {
                    assert_eq!(asked, 1.0, "{id}: lost whites stay white");
                    lost += usize::from(before < 1.0);
                } else if least < 0.91 {
                    // Between the two exposures; half a level for the rounding to 8 bits.
                    let half = 0.5 / 255.0 + 1e-6;
                    let most = pair.input[[c, y, x]] + half;
                    assert!((before - half..=most).contains(&asked), "{id}: {asked}");
                }
            }
            white += usize::from(least == 1.0);
        }
    }
    assert!(white > 100 && lost > 100, "the sample set has highlights to lose: {white}, {lost}");
}
