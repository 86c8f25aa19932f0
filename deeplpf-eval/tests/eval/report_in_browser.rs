//! The report as a reader uses it: opened in a headless Chromium, dragged, sorted and searched, by
//! mouse and by keyboard, in light and dark.
//!
//! Needs a Chromium or Chrome on the path (or named by `CHROMIUM`); without one the tests say so
//! and are skipped. Screenshots are left in the build's temporary folder.

use std::path::{Path, PathBuf};

use crate::browser::{self, Browser};
use deeplpf_eval::maps::{ERROR_SCALE, error_map};
use deeplpf_eval::metrics::{ImageMetric, Psnr, standard_metrics};
use deeplpf_eval::plot::{Bar, Bars, Plot};
use deeplpf_eval::{Caption, FilterDrawing, GalleryItem, Report, Scores, Table, score_image};
use deeplpf_filters::{FilterStack, StackConfig};
use ndarray::Array3;

/// A name that would run as a script if it were taken for markup.
const HOSTILE: &str = "\"><img src=x onerror=\"document.title='stolen'\"><script>x</script>";

fn folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("report");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The browser, or `None` after saying loudly that the test is skipped.
fn browser(test: &str) -> Option<Browser> {
    let found = browser::find();
    if found.is_none() {
        eprintln!(
            "SKIPPED {test}: no chromium, chromium-browser, google-chrome or \
             google-chrome-stable on the path; install one, or name it with CHROMIUM"
        );
    }
    Some(Browser::start(&found?))
}

fn picture(name: &str) -> Array3<f32> {
    let pairs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pairs");
    deeplpf_data::decode(pairs.join(name)).unwrap().pixels
}

fn filters(seed: usize) -> (StackConfig, FilterStack<f32>) {
    let config = StackConfig::default();
    let raw: Vec<f32> =
        (0..config.raw_len()).map(|i| (((i + seed) * 37 % 23) as f32 - 11.0) / 9.0).collect();
    let stack = FilterStack::from_raw(&config, &raw).unwrap();
    (config, stack)
}

/// Two methods on a few photographs whose values are known to differ.
fn report(photographs: &[(&str, &str)]) -> Report {
    let metrics = standard_metrics();
    let empty = || Scores::new(metrics.iter().map(|metric| metric.metric()).collect());
    let [mut input_scores, mut first_scores, mut second_scores] = [empty(), empty(), empty()];
    let mut gallery = Vec::new();
    for (index, (id, pair)) in photographs.iter().enumerate() {
        let target = picture(&format!("{pair}/target.png"));
        let input = picture(&format!("{pair}/prediction.png"));
        let towards = |share: f32| &input * (1.0 - share) + &target * share;
        let first = towards(0.5);
        let second = towards([0.9, 0.2, 0.7][index % 3]);
        let score = |scores: &mut Scores, image: &Array3<f32>| {
            scores.insert(score_image(&metrics, id, image.view(), target.view()).unwrap()).unwrap();
        };
        score(&mut input_scores, &input);
        score(&mut first_scores, &first);
        score(&mut second_scores, &second);
        let error = |image: &Array3<f32>| {
            ERROR_SCALE.paint(error_map(image.view(), target.view()).unwrap().view())
        };
        let (_, height, width) = target.dim();
        let (config, stack) = filters(index);
        let drawing = FilterDrawing::new(&config, stack.params(), (width, height));
        gallery.push(
            GalleryItem::new(*id)
                .with_scored_picture("input", input.clone(), &input_scores)
                .with_scored_picture("first", first.clone(), &first_scores)
                .with_scored_picture("second", second.clone(), &second_scores)
                .with_picture("error of first", error(&first))
                .with_picture("error of second", error(&second))
                .with_picture("target", target)
                .with_filters("second", drawing),
        );
    }
    let caption = Caption {
        protocol: "fixtures".into(),
        split: "all".into(),
        images: photographs.len(),
        ..Caption::default()
    };
    let columns = metrics.iter().map(|metric| metric.metric()).collect();
    let mut table = Table::new("Methods", caption, columns);
    let rows =
        [("input, unchanged", &input_scores), ("first", &first_scores), ("second", &second_scores)];
    for (name, scores) in rows {
        table.push_scores(name, scores).unwrap();
    }
    let bars = Bars {
        title: "PSNR".into(),
        metric: Psnr.metric(),
        axis_from: None,
        bars: rows.map(|(name, scores)| Bar::new(name, scores.mean_of("psnr").unwrap())).to_vec(),
    };
    Report {
        facts: vec![("Seed".into(), "1".into()), ("Note".into(), HOSTILE.into())],
        tables: vec![table],
        plots: vec![bars.to_svg().unwrap()],
        gallery,
        ..Report::new(format!("Report {HOSTILE}"))
    }
}

#[test]
fn a_reader_drags_sorts_and_searches() {
    let Some(mut browser) = browser("a_reader_drags_sorts_and_searches") else { return };
    let path = folder().join("report.html");
    let names = [("astronaut", "astronaut"), ("chelsea", "chelsea"), ("coffee <b>", "coffee")];
    let mut report = report(&names);
    report.gallery[2].id = "coffee <b>".into();
    report.write(&path).unwrap();
    browser.open(&path);
    browser.screenshot(&folder().join("1_light.png"));

    // The table: by PSNR rising, then falling.
    let methods =
        "[...document.querySelectorAll('.table tbody th')].map(e => e.textContent).join()";
    assert_eq!(browser.evaluate(methods), "input, unchanged,first,second");
    let psnr = ".table thead th:nth-child(2) button";
    browser.click(psnr);
    let sorted = "document.querySelector('.table thead th:nth-child(2)').getAttribute('aria-sort')";
    assert_eq!(browser.evaluate(sorted), "ascending");
    browser.click(psnr);
    assert_eq!(browser.evaluate(sorted), "descending");
    let values = "[...document.querySelectorAll('.table tbody td:nth-child(2)')]\
                  .map(e => parseFloat(e.textContent)).every((v, i, a) => !i || a[i - 1] >= v)";
    assert_eq!(browser.evaluate(values), true);
    assert_ne!(browser.evaluate(methods), "input, unchanged,first,second");

    // The slider of the first photograph, by mouse.
    browser.until("document.querySelector('.stage input') !== null");
    let at = "document.querySelector('.stage input').value";
    assert_eq!(browser.evaluate(at), "50");
    let [x, y, width, _] = browser.place(".stage");
    browser.drag((x, y), (x - 0.3 * width, y));
    let dragged: f64 = browser.evaluate(at).as_str().unwrap().parse().unwrap();
    assert!((15.0..26.0).contains(&dragged), "{dragged}");
    let clipped = "getComputedStyle(document.querySelector('.stage .before')).clipPath";
    let clip = browser.evaluate(clipped);
    let shown = format!("{}%", 100.0 - dragged);
    assert!(clip.as_str().unwrap().contains(&shown), "{clip} {dragged}");
    // By keyboard, from where the mouse left it.
    browser.press("ArrowRight", 39);
    let pressed: f64 = browser.evaluate(at).as_str().unwrap().parse().unwrap();
    assert_eq!(pressed, dragged + 0.5);
    let described = browser.evaluate(
        "(i => [i.getAttribute('aria-label'), i.getAttribute('aria-valuetext')].join())\
         (document.querySelector('.stage input'))",
    );
    let expected = "astronaut: boundary between input and second,";
    assert!(described.as_str().unwrap().starts_with(expected), "{described}");

    // Other pictures and the filters over them.
    let choose = |label: &str, option: &str| {
        format!(
            "(() => {{ const s = [...document.querySelectorAll('.choose label')]\
             .find(e => e.firstChild.data === '{label}').querySelector('select'); \
             s.selectedIndex = [...s.options].findIndex(o => o.text === '{option}'); \
             s.dispatchEvent(new Event('change')); }})()"
        )
    };
    browser.evaluate(&choose("Right", "error of second"));
    let tags = "[...document.querySelector('.stage').querySelectorAll('.tag')]\
                .map(e => e.textContent).join()";
    assert_eq!(browser.evaluate(tags), "input,error of second");
    browser.screenshot(&folder().join("2_error.png"));
    browser.evaluate(&choose("Right", "second"));
    browser.evaluate(&choose("Filters", "second"));
    let drawn = "document.querySelector('.stage svg.filters').getBoundingClientRect().width \
                 === document.querySelector('.stage').getBoundingClientRect().width";
    assert_eq!(browser.evaluate(drawn), true);
    browser.evaluate("document.querySelector('details.numbers').open = true");
    browser.place(".stage");
    browser.screenshot(&folder().join("3_filters.png"));

    // Sorting photographs: best first, then worst first, by the second method's PSNR.
    let order = "[...document.querySelectorAll('.photograph:not([hidden]) h3')]\
                 .map(e => e.textContent).join()";
    let sort = |index: usize| {
        format!(
            "(() => {{ const s = document.querySelector('[name=order]'); s.selectedIndex = {index}; \
             s.dispatchEvent(new Event('change')); }})()"
        )
    };
    browser.evaluate(&sort(1));
    let chosen = "document.querySelector('[name=order]').selectedOptions[0].text";
    assert_eq!(browser.evaluate(chosen), "PSNR: second");
    let value = "[...document.querySelectorAll('.photograph')]\
                 .map(e => Number(e.dataset.values.split(' ')[0]))";
    let falling = format!("{value}.every((v, i, a) => !i || a[i - 1] >= v)");
    assert_eq!(browser.evaluate(&falling), true);
    let best_first = browser.evaluate(order);
    browser.evaluate(
        "(() => { const s = document.querySelector('[name=end]'); s.selectedIndex = 1; \
         s.dispatchEvent(new Event('change')); })()",
    );
    let mut names: Vec<_> = best_first.as_str().unwrap().split(',').collect();
    names.reverse();
    assert_eq!(browser.evaluate(order), names.join(","));

    // Searching, and back by keyboard.
    browser.click("[name=search]");
    browser.write_text("E <B");
    assert_eq!(browser.evaluate(order), "coffee <b>");
    let count = "document.querySelector('.toolbar output').textContent";
    assert_eq!(browser.evaluate(count), "1 of 3 photographs");
    browser.screenshot(&folder().join("4_search.png"));
    for _ in 0..4 {
        browser.press("Backspace", 8);
    }
    assert_eq!(browser.evaluate(count), "3 photographs");

    browser.emulate("dark");
    browser.evaluate("scrollTo(0, 0)");
    browser.screenshot(&folder().join("5_dark.png"));
    browser.evaluate("document.querySelector('.plot').scrollIntoView()");
    browser.screenshot(&folder().join("6_dark_plot.png"));

    // A narrow window: what is wider than it says so, the page itself does not scroll sideways.
    browser.resize(420);
    browser.evaluate("document.querySelector('.plot').scrollIntoView()");
    browser.screenshot(&folder().join("8_narrow_dark_plot.png"));
    let sideways = "document.documentElement.scrollWidth <= 420";
    assert_eq!(browser.evaluate(sideways), true);
    let hint = |part: &str| {
        format!("Number(getComputedStyle(document.querySelector('.plot'), '::after').{part})")
    };
    let wider = "(p => p.scrollWidth > p.clientWidth)(document.querySelector('.plot'))";
    assert_eq!(browser.evaluate(wider), true);
    assert_eq!(browser.evaluate(&hint("opacity")), 1);
    browser.evaluate("document.querySelector('.plot').scrollLeft = 1000");
    browser.until(&format!("{} < 0.1", hint("opacity")));
    browser.screenshot(&folder().join("9_narrow_dark_plot_end.png"));
    browser.emulate("light");
    browser.evaluate("document.querySelector('.gallery').scrollIntoView()");
    browser.screenshot(&folder().join("10_narrow_gallery.png"));

    // Names were shown, not run, and nothing complained or was asked of the network.
    let title = browser.evaluate("document.title");
    assert!(title.as_str().unwrap().contains("onerror"), "{title}");
    assert_eq!(browser.evaluate("document.querySelectorAll('h1 img, h3 b').length"), 0);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn every_control_has_a_name_for_screen_readers() {
    let Some(mut browser) = browser("every_control_has_a_name_for_screen_readers") else { return };
    let path = folder().join("labels.html");
    report(&[("astronaut", "astronaut")]).write(&path).unwrap();
    browser.open(&path);
    browser.until("document.querySelector('.stage input') !== null");
    browser.call("Accessibility.enable", serde_json::json!({}));
    let tree = browser.call("Accessibility.getFullAXTree", serde_json::json!({}));
    let mut found = 0;
    for node in tree["nodes"].as_array().unwrap() {
        let role = node["role"]["value"].as_str().unwrap_or("");
        let asks = ["slider", "searchbox", "combobox", "button", "image", "table", "search"];
        if node["ignored"] == true || !asks.contains(&role) {
            continue;
        }
        let name = node["name"]["value"].as_str().unwrap_or("");
        // The table of one photograph's scores stands under its heading.
        assert!(!name.is_empty() || role == "table", "{role} without a name: {node}");
        found += 1;
    }
    assert!(found > 15, "{found} controls");
}

#[test]
fn another_script_on_the_page_does_not_run() {
    let Some(mut browser) = browser("another_script_on_the_page_does_not_run") else { return };
    let path = folder().join("injected.html");
    let html = report(&[("astronaut", "astronaut")]).to_html().unwrap();
    // What would happen if some text were ever put in without being escaped.
    let broken = html.replace("</header>", "<script>document.title = 'stolen'</script></header>");
    assert_ne!(html, broken);
    std::fs::write(&path, broken).unwrap();
    browser.open(&path);
    assert_ne!(browser.evaluate("document.title"), "stolen");
    assert!(browser.complaints().iter().any(|complaint| complaint.contains("script-src")));
}

/// 500 photographs of two methods stay below 20 MB and are searched without delay.
#[test]
fn five_hundred_photographs_fit() {
    let mut report = report(&[("astronaut", "astronaut"), ("chelsea", "chelsea"), ("c", "coffee")]);
    let few = std::mem::take(&mut report.gallery);
    for index in 0..500 {
        let mut item = few[index % 3].clone();
        item.id = format!("a{index:04}");
        report.gallery.push(item);
    }
    let path = folder().join("five_hundred.html");
    report.write(&path).unwrap();
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(size < 20_000_000, "{size} bytes");
    // Not smaller than it must be: the pictures are what the room allows.
    assert!(size > 9_000_000, "{size} bytes");
    let Some(mut browser) = browser("five_hundred_photographs_fit (the browser's part)") else {
        return;
    };
    browser.open(&path);
    // Said, not asserted: how long a reader waits.
    let loaded = browser.evaluate(
        "(([t]) => Math.round(t.loadEventEnd))(performance.getEntriesByType('navigation'))",
    );
    let sorted = browser.evaluate(
        "(() => { const from = performance.now(); \
         const s = document.querySelector('[name=order]'); s.selectedIndex = 1; \
         s.dispatchEvent(new Event('change')); document.body.offsetHeight; \
         return Math.round(performance.now() - from); })()",
    );
    let searched = browser.evaluate(
        "(() => { const from = performance.now(); \
         const s = document.querySelector('[name=search]'); s.value = 'a00'; \
         s.dispatchEvent(new Event('input')); document.body.offsetHeight; \
         const took = Math.round(performance.now() - from); s.value = ''; return took; })()",
    );
    eprintln!(
        "500 photographs, {size} bytes: loaded in {loaded} ms, sorted in {sorted}, searched in {searched}"
    );
    browser.click("[name=search]");
    browser.write_text("a0499");
    let shown = "document.querySelectorAll('.photograph:not([hidden])').length";
    assert_eq!(browser.evaluate(shown), 1);
    browser.until("document.querySelector('.photograph:not([hidden]) .stage input') !== null");
    browser.screenshot(&folder().join("7_five_hundred.png"));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
