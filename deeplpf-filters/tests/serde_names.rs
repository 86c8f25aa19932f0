//! The names that files and command lines see.
#![cfg(feature = "serde")]

use deeplpf_filters::{Dialect, FilterFixes, FilterStack, StackConfig, StackParams};

#[test]
fn names_are_lowercase_and_round_trips_are_exact() {
    let config = StackConfig {
        dialect: Dialect::Paper,
        gates: true,
        graduated: 1,
        elliptical: 1,
        ..Default::default()
    };
    let json = serde_json::to_string(&config).expect("json");
    assert_eq!(
        json,
        r#"{"dialect":"paper","fixes":{"ellipse":false,"fusion":false,"ste":false,"blend":false},"polynomial":"cubic20","graduated":1,"elliptical":1,"gates":true,"fusion":"sum"}"#
    );
    assert_eq!(serde_json::from_str::<StackConfig>(&json).expect("json"), config);
    assert!(serde_json::from_str::<FilterFixes>(r#"{"elipse":true}"#).is_err());

    let raw: Vec<f32> = (0..config.raw_len()).map(|i| (i as f32 * 0.7).sin()).collect();
    let params = FilterStack::from_raw(&config, &raw).expect("valid").params().clone();
    let json = serde_json::to_string(&params).expect("json");
    assert!(json.contains(r#""center_x":"#) && json.contains(r#""inversion":"#));
    assert_eq!(serde_json::from_str::<StackParams<f32>>(&json).expect("json"), params);
}
