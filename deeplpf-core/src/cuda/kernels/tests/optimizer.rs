//! Adam and the check for numbers that are not finite.

use half::bf16;

use super::*;

/// One step as deeplpf-train/src/adam.rs takes it.
fn adam([parameters, first, second]: [&mut Vec<f32>; 3], gradients: &[f32], state: &StepState) {
    let t = state.updates as i32 + 1;
    let step_size = (state.learning_rate / (1.0 - state.beta1.powi(t))) as f32;
    let scale = (1.0 - state.beta2.powi(t)).sqrt() as f32;
    let decays = [state.beta1, 1.0 - state.beta1, state.beta2, 1.0 - state.beta2].map(|v| v as f32);
    for (i, &g) in gradients.iter().enumerate() {
        first[i] = decays[0] * first[i] + decays[1] * g;
        second[i] = decays[2] * second[i] + decays[3] * (g * g);
        parameters[i] -= step_size * (first[i] / (second[i].sqrt() / scale + state.epsilon as f32));
    }
}

fn words(state: &StepState) -> Vec<u64> {
    let mut words = vec![state.step, state.batches, state.place];
    words.extend([state.learning_rate, state.share].map(f64::to_bits));
    words.extend([state.updates, state.skipped, state.not_finite]);
    words.extend([state.beta1, state.beta2, state.epsilon].map(f64::to_bits));
    words.extend([state.clip_norm, state.scale].map(f64::to_bits));
    words.extend([state.backbone_rate, state.heads_rate].map(f64::to_bits));
    words.extend([state.max_loss, state.average].map(f64::to_bits));
    words
}

/// Sizes around a block's 1024 numbers; what lies behind stays as it is.
#[test]
fn a_share_weighs_gradients_and_loss() {
    let Some(bench) = bench() else { return };
    let share = 3.0 / 7.0;
    for count in [1, 1023, 1025, 5000] {
        let state = bench.numbers(&words(&StepState { share, ..Default::default() }));
        let gradients = random(5, count + 1, -0.2, 0.2);
        let (held, terms) = (bench.numbers(&gradients), bench.numbers(&[0.5f32, 0.25, 0.7, 0.1]));
        let loss = Span::<LossTerms>::new(terms.span().address(), 1);
        let weighed = held.span().part(0, count).unwrap();
        let state = Span::new(state.span().address(), 1);
        bench.kernels.weigh(bench.stream(), weighed, loss, state).unwrap();
        let mut expected: Vec<f32> = gradients.iter().map(|g| share as f32 * g).collect();
        expected[count] = gradients[count];
        assert_eq!(held.read(), expected);
        let terms = terms.read();
        assert_eq!(terms[..3], [0.5, 0.25, 0.7].map(|term: f32| share as f32 * term));
        assert_eq!(terms[3], 0.1);
    }
}

#[test]
fn steps_have_the_bits_of_the_cpu_and_a_bad_one_changes_nothing() {
    let Some(bench) = bench() else { return };
    let count = 5000;
    let start = StepState {
        step: 10,
        updates: 3,
        learning_rate: 1e-3,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        ..Default::default()
    };
    let mut parameters = random(1, count, -1.0, 1.0);
    let mut first = random(2, count, -0.1, 0.1);
    let mut second = random(3, count, 0.0, 0.1);
    let held = [&parameters, &first, &second].map(|values| bench.numbers(values));
    let state = bench.numbers(&words(&start));
    let state_span = Span::<StepState>::new(state.span().address(), 1);
    let rounded = bench.numbers(&vec![bf16::ZERO; count]);
    let terms = bench.numbers(&[0.5f32, 0.5, 0.5]);
    let (stream, kernels) = (bench.stream(), &bench.kernels);
    let run = |gradients: &[f32], loss: &Numbers<f32>| {
        let gradients = bench.numbers(gradients);
        let loss = Span::<LossTerms>::new(loss.span().address(), 1);
        let scratch = bench.scratch();
        kernels.check_finite(stream, gradients.span(), count, loss, state_span, scratch).unwrap();
        kernels
            .adam(
                stream,
                held[0].span(),
                gradients.span(),
                [held[1].span(), held[2].span()],
                Some(rounded.span()),
                None,
                count,
                state_span,
                bench.scratch(),
            )
            .unwrap();
        state.read()
    };
    let mut expected = start;
    for step in 0..3 {
        let gradients = random(20 + step, count, -0.2, 0.2);
        adam([&mut parameters, &mut first, &mut second], &gradients, &expected);
        expected.updates += 1;
        expected.step += 1;
        assert_eq!(run(&gradients, &terms), words(&expected));
    }
    let same = |what: &str, expected: [&Vec<f32>; 3]| {
        for (held, values) in held.iter().zip(expected) {
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&held.read()), bits(values), "{what}");
        }
        let expected: Vec<u16> = expected[0].iter().map(|v| bf16::from_f32(*v).to_bits()).collect();
        assert_eq!(rounded.read().iter().map(|v| v.to_bits()).collect::<Vec<_>>(), expected);
    };
    same("after three steps", [&parameters, &first, &second]);

    // Not finite: first or last gradient, or a part of the loss.
    let bad_terms = bench.numbers(&[0.5, f32::NAN, 0.5]);
    for (at, value, loss) in
        [(0, f32::NAN, &terms), (count - 1, f32::INFINITY, &terms), (1, 0.5, &bad_terms)]
    {
        let mut gradients = random(40, count, -0.2, 0.2);
        gradients[at] = value;
        expected.step += 1;
        expected.skipped += 1;
        assert_eq!(run(&gradients, loss), words(&expected));
        same("after a bad step", [&parameters, &first, &second]);
    }
    let gradients = random(41, count, -0.2, 0.2);
    adam([&mut parameters, &mut first, &mut second], &gradients, &expected);
    expected.updates += 1;
    expected.step += 1;
    assert_eq!(run(&gradients, &terms), words(&expected));
    same("after going on", [&parameters, &first, &second]);
}
