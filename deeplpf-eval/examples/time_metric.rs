use deeplpf_eval::{ImagePair, metrics::metrics_by_key};
use ndarray::Array3;
fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    s.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
}
fn main() {
    let a: Vec<String> = std::env::args().skip(1).collect();
    let n: usize = a[0].parse().unwrap();
    rayon::ThreadPoolBuilder::new()
        .num_threads(std::env::var("T").map_or(1, |t| t.parse().unwrap()))
        .use_current_thread()
        .build_global()
        .unwrap();
    let image = |seed: usize| {
        Array3::from_shape_fn((3, 341, 512), |(c, y, x)| {
            ((c * 31 + y * 7 + x * 3 + seed * (x % 11)) % 256) as f32 / 255.0
        })
    };
    let (p, t) = (image(5), image(0));
    let pair = ImagePair::new(p.view(), t.view()).unwrap();
    for key in &a[1..] {
        let m = metrics_by_key(&[key]).unwrap().remove(0);
        m.score(&pair).unwrap();
        let (mut best, mut wall) = (f64::INFINITY, f64::INFINITY);
        let mut v = 0.0;
        for _ in 0..n {
            let s = cpu();
            let w = std::time::Instant::now();
            v = m.score(&pair).unwrap();
            best = best.min(cpu() - s);
            wall = wall.min(w.elapsed().as_secs_f64() * 1e3);
        }
        println!("{key:16} cpu(main thread) {best:.2} ms wall {wall:.2} ms {v}");
    }
}
