//! Every gradient against central differences of the scalar reference, in f64.
//!
//! The formulas have kinks (limits, the ellipse's edge). Step, sizes and seeds are chosen so that
//! no pixel crosses one within a step: each difference is also taken with half the step, and where
//! the two disagree the case is reported as a kink, which is a failure too.

mod common;

use common::{Random, by_reference, slots};
use deeplpf_filters::{
    Dialect, FilterFixes, FilterStack, FusionRule, PolynomialKind, StackConfig, StackParams,
    reference,
};
use ndarray::Array3;

const STEP: f64 = 2e-6;
/// Central differences of step h err by h²/6 times the third derivative, about 1e-11, and by
/// rounding of the sum, about 1e-14 / h = 1e-8 relative to a sum of order one.
const ABSOLUTE: f64 = 2e-7;
const RELATIVE: f64 = 2e-7;
const SIZE: (usize, usize) = (7, 9);

fn cases() -> Vec<(&'static str, StackConfig)> {
    use PolynomialKind::{Cubic10, Cubic20};
    let base = StackConfig::default();
    let paper = StackConfig { dialect: Dialect::Paper, ..base.clone() };
    let fixed = StackConfig { fixes: FilterFixes::ALL, ..base.clone() };
    let off = StackConfig { polynomial: None, graduated: 0, elliptical: 0, ..base.clone() };
    let product = |config| StackConfig { fusion: FusionRule::Product, ..config };
    let only = |fixes| FilterFixes { ..fixes };
    vec![
        ("release", base.clone()),
        ("release, four of each", StackConfig { graduated: 4, elliptical: 4, ..base.clone() }),
        ("release, two of each", StackConfig { graduated: 2, elliptical: 2, ..base.clone() }),
        ("release, Cubic-10", StackConfig { polynomial: Some(Cubic10), ..base.clone() }),
        ("release, polynomial", StackConfig { graduated: 0, elliptical: 0, ..base.clone() }),
        ("release, graduated", StackConfig { graduated: 2, ..off.clone() }),
        ("release, elliptical", StackConfig { elliptical: 3, ..off.clone() }),
        ("release, no polynomial", StackConfig { polynomial: None, ..base.clone() }),
        ("release, nothing", off.clone()),
        (
            "release, fusion alone",
            StackConfig {
                fixes: only(FilterFixes { fusion: true, ..FilterFixes::NONE }),
                ..base.clone()
            },
        ),
        (
            "release, blend without ste",
            StackConfig {
                fixes: only(FilterFixes { blend: true, ..FilterFixes::NONE }),
                ..base.clone()
            },
        ),
        ("fixed", fixed.clone()),
        ("release, product", product(base.clone())),
        ("fixed, product", product(fixed.clone())),
        ("product, gates", StackConfig { gates: true, ..product(base.clone()) }),
        ("product, graduated", StackConfig { elliptical: 0, ..product(base.clone()) }),
        ("paper, product", product(paper.clone())),
        ("fixed, gates", StackConfig { gates: true, ..fixed.clone() }),
        (
            "fixed, gates, elliptical",
            StackConfig { gates: true, graduated: 0, elliptical: 4, ..fixed.clone() },
        ),
        ("paper, Cubic-20", StackConfig { polynomial: Some(Cubic20), ..paper.clone() }),
        ("paper, Cubic-10", StackConfig { polynomial: Some(Cubic10), ..paper.clone() }),
        ("paper, gates", StackConfig { gates: true, ..paper.clone() }),
        ("paper, one of each", StackConfig { graduated: 1, elliptical: 1, ..paper.clone() }),
        (
            "paper, graduated",
            StackConfig { polynomial: None, graduated: 3, elliptical: 0, ..paper.clone() },
        ),
        (
            "paper, elliptical",
            StackConfig { polynomial: None, graduated: 0, elliptical: 3, ..paper.clone() },
        ),
        ("paper, nothing", StackConfig { dialect: Dialect::Paper, ..off }),
    ]
}

/// Raw numbers whose bounds are all inactive: o1 below the offset, the offset above o2.
fn ordinary_raw(config: &StackConfig, random: &mut Random) -> Vec<f64> {
    let mut raw: Vec<f64> = random.raw(config);
    let (begin, n) = (config.graduated_range().start, config.graduated);
    for k in 0..n {
        raw[begin + 2 * n + k] = random.uniform(-1.5, -0.8);
        raw[begin + 3 * n + k] = random.uniform(-0.1, 0.8);
        raw[begin + 4 * n + k] = random.uniform(-0.7, -0.2);
    }
    raw
}

struct Check {
    case: String,
    failures: Vec<String>,
    count: usize,
}

impl Check {
    /// Compares `analytic` with the central difference of `f` at 0.
    fn compare(&mut self, what: &str, analytic: f64, f: impl Fn(f64) -> f64) {
        self.count += 1;
        let difference = |h: f64| (f(h) - f(-h)) / (2.0 * h);
        let (wide, narrow) = (difference(STEP), difference(STEP / 2.0));
        let limit = ABSOLUTE + RELATIVE * narrow.abs();
        if (wide - narrow).abs() > 4.0 * limit {
            self.failures.push(format!("{}: {what}: a kink, {wide} and {narrow}", self.case));
        } else if (analytic - wide).is_nan() || (analytic - wide).abs() > limit {
            self.failures.push(format!("{}: {what}: {analytic}, differences {wide}", self.case));
        }
    }
}

/// Whether the gradient is a convention that no difference shows: the sign of the inversion, and
/// in the release dialect the bound o1 (held constant as a raw number, unused as a named one).
fn is_conventional(config: &StackConfig, name: &str) -> bool {
    name.ends_with("inversion") || (config.dialect == Dialect::Release && name.ends_with("o1"))
}

fn objective(
    config: &StackConfig,
    params: &StackParams<f64>,
    image: &Array3<f64>,
    cotangent: &Array3<f64>,
) -> f64 {
    (by_reference(config, params, image.view()) * cotangent).sum()
}

fn check(case: &str, config: &StackConfig, seed: u64) -> Check {
    let mut random = Random(seed);
    let raw = ordinary_raw(config, &mut random);
    let image = random.image::<f64>(SIZE.0, SIZE.1, [0.03, 0.7]);
    let cotangent = random.image::<f64>(SIZE.0, SIZE.1, [-1.0, 1.0]);
    let stack = FilterStack::from_raw(config, &raw).expect("a valid stack");
    let vjp = stack.vjp(image.view(), cotangent.view()).expect("gradients");
    let mut check = Check { case: case.to_string(), failures: vec![], count: 0 };

    let of_raw = |raw: &[f64]| {
        let stack = FilterStack::from_raw(config, raw).expect("a valid stack");
        objective(config, stack.params(), &image, &cotangent)
    };
    let raw_gradient = vjp.raw.as_ref().expect("built from raw numbers");
    for (i, &analytic) in raw_gradient.iter().enumerate() {
        let name = config.raw_name(i);
        if !is_conventional(config, &name) {
            check.compare(&format!("raw {name}"), analytic, |h| {
                let mut raw = raw.clone();
                raw[i] += h;
                of_raw(&raw)
            });
        } else if name.ends_with("o1") && analytic != 0.0 {
            check.failures.push(format!("{case}: raw {name} is {analytic}, not zero"));
        }
    }

    let mut gradient = vjp.params.clone();
    for (i, (name, analytic)) in slots(&mut gradient).into_iter().enumerate() {
        if !is_conventional(config, &name) {
            check.compare(&name, *analytic, |h| {
                let mut params = stack.params().clone();
                *slots(&mut params)[i].1 += h;
                objective(config, &params, &image, &cotangent)
            });
        }
    }

    let (height, width) = (SIZE.0 as f64, SIZE.1 as f64);
    for ((ch, r, c), &i) in image.indexed_iter() {
        let (x, y) = (r as f64 / height, c as f64 / width);
        check.compare(&format!("image {ch} {r} {c}"), vjp.image[[ch, r, c]], |h| {
            let value = reference::enhance(config, stack.params(), ch, x, y, i + h);
            value * cotangent[[ch, r, c]]
        });
    }

    let polynomial = stack.vjp_polynomial(image.view(), cotangent.view()).expect("gradients");
    for (i, &analytic) in polynomial.raw.expect("raw").iter().enumerate() {
        check.compare(&format!("Y2 by raw {}", config.raw_name(i)), analytic, |h| {
            let mut raw = raw.clone();
            raw[i] += h;
            let stack = FilterStack::from_raw(config, &raw).expect("a valid stack");
            (0..3)
                .flat_map(|ch| (0..SIZE.0).flat_map(move |r| (0..SIZE.1).map(move |c| (ch, r, c))))
                .map(|(ch, r, c)| {
                    let (x, y) = (r as f64 / height, c as f64 / width);
                    let i = image[[ch, r, c]];
                    reference::polynomial_filter(config, stack.params(), ch, x, y, i)
                        * cotangent[[ch, r, c]]
                })
                .sum()
        });
    }
    for ((ch, r, c), &i) in image.indexed_iter() {
        let (x, y) = (r as f64 / height, c as f64 / width);
        check.compare(&format!("Y2 by image {ch} {r} {c}"), polynomial.image[[ch, r, c]], |h| {
            reference::polynomial_filter(config, stack.params(), ch, x, y, i + h)
                * cotangent[[ch, r, c]]
        });
    }
    check
}

#[test]
fn gradients_agree_with_central_differences() {
    let mut failures = vec![];
    let mut count = 0;
    for (n, (case, config)) in cases().iter().enumerate() {
        for seed in [1, 2, 3] {
            let result = check(&format!("{case}, seed {seed}"), config, 1000 * n as u64 + seed);
            count += result.count;
            failures.extend(result.failures);
        }
    }
    eprintln!("{count} derivatives compared");
    let shown = failures.iter().take(60).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {count} differ:\n{shown}", failures.len());
}

/// Y is affine in one instance's mask where no limit acts, and the mask is affine in the weight
/// g^ = (sign + 1)/2, so the straight-through gradient is half the difference between the
/// inverted and the ordinary picture: exact, not a limit.
#[test]
fn the_inversion_has_the_straight_through_gradient() {
    let paper = StackConfig { dialect: Dialect::Paper, ..StackConfig::default() };
    let fixed = StackConfig {
        fixes: FilterFixes::ALL,
        polynomial: None,
        graduated: 1,
        elliptical: 0,
        ..StackConfig::default()
    };
    for (config, seed) in [(&paper, 11), (&paper, 12), (&fixed, 13), (&fixed, 14)] {
        let mut random = Random(seed);
        let mut raw = ordinary_raw(config, &mut random);
        if config.dialect == Dialect::Release {
            // A moderate scale below one and a line that leans to the right keep the inverted mask,
            // s + (1 - s) (1/d1 + 1/d2) u / 2, below its limit of one.
            raw[1] = 0.3;
            raw[5..8].fill(-0.2);
        }
        let image = random.image::<f64>(SIZE.0, SIZE.1, [0.1, 0.4]);
        let cotangent = random.image::<f64>(SIZE.0, SIZE.1, [-1.0, 1.0]);
        let begin = config.graduated_range().start;
        for k in 0..config.graduated {
            let at = |inversion: f64| {
                let mut raw = raw.clone();
                raw[begin + k] = inversion;
                FilterStack::from_raw(config, &raw).expect("a valid stack")
            };
            let value =
                |inversion: f64| objective(config, at(inversion).params(), &image, &cotangent);
            let expected = (value(0.5) - value(-0.5)) / 2.0;
            assert!(expected.abs() > 1e-6, "a test that shows something");
            for (inversion, passes) in
                [(-1.5, 0.0), (-1.0, 1.0), (-0.3, 1.0), (0.0, 1.0), (0.9, 1.0), (1.1, 0.0)]
            {
                let vjp = at(inversion).vjp(image.view(), cotangent.view()).expect("gradients");
                let found = vjp.raw.expect("raw")[begin + k];
                assert!(
                    (found - passes * expected).abs() < 1e-12,
                    "{:?} instance {k} at {inversion}: {found}, expected {}",
                    config.dialect,
                    passes * expected
                );
            }
        }
    }
}

/// Where a bound of the release's offsets acts, the bound is a constant.
#[test]
fn bounds_of_the_release_offsets_are_constants() {
    let config =
        StackConfig { graduated: 1, elliptical: 0, polynomial: None, ..Default::default() };
    // Inversion on, scales below one so that the mask depends on everything.
    let raw = |o1: f64, offset: f64, o2: f64| vec![0.5, 0.3, o1, offset, o2, -0.5, -0.4, -0.3];
    let mut random = Random(5);
    let image = random.image::<f64>(SIZE.0, SIZE.1, [0.1, 0.4]);
    let gradient = |raw: &[f64]| {
        let stack = FilterStack::from_raw(&config, raw).expect("a valid stack");
        let cotangent = Array3::ones(image.raw_dim());
        stack.vjp(image.view(), cotangent.view()).expect("gradients").raw.expect("raw")
    };
    // The offset below its bound: neither it nor the bound gets a gradient; o2 above the offset.
    let held = gradient(&raw(0.4, -0.4, 0.9));
    assert_eq!([held[2], held[3], held[4]], [0.0; 3]);
    let held = gradient(&raw(-1.0, 0.2, 0.9));
    assert_eq!([held[2], held[4]], [0.0; 2]);
    assert!(held[3] != 0.0);
    let free = gradient(&raw(-1.0, 0.2, -0.5));
    assert_eq!(free[2], 0.0);
    assert!(free[3] != 0.0 && free[4] != 0.0);
}
