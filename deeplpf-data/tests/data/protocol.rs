//! FiveK's protocols against the files they were taken from.

use std::collections::BTreeSet;

use deeplpf_data::protocol::{Expert, InputRendering, Protocol, ProtocolName, SizeRule};
use sha2::{Digest, Sha256};

fn hash(ids: &[String]) -> String {
    let text: String = ids.iter().flat_map(|id| [id.as_str(), "\n"]).collect();
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checksums of the published lists: `splits/README.md`. Those in the order of the ids were published
/// as files, too.
#[test]
fn lists_are_the_published_ones_golden() {
    let split = |name| Protocol::new(name).split();
    let dpe = split(ProtocolName::Dpe);
    let train = "b72acba6977f2973f53cf45eee28a9535caf8ea994d7bb956a6542a593f2ebaf";
    let valid = "e29706eda38b05a1e234a3fb4abc6875bc2f966234d3bd0efe2a31537e86d3c7";
    let test = "d2f95947ec0261843c01438445c4551533ee01b2ce6abc35cb05f60ae5e3faa6";
    assert_eq!([&dpe.train, &dpe.valid, &dpe.test].map(|ids| hash(ids)), [train, valid, test]);

    let order = split(ProtocolName::DpeIdOrder);
    let train = "1827424e8da67bd989385d0d8e4c0d8ceb0e995072988c491aceb658f74a10e7";
    let valid = "816e9f0fd4b6a2717503ba6c2afb8e55c5f09a08ce7f7112d8a2b898dded3393";
    let test_in_order = "c05d4a38de03d81c7d86cfbac9c57af935e5dd307c0bdca530040b0bef734c0f";
    let found = [&order.train, &order.valid, &order.test].map(|ids| hash(ids));
    assert_eq!(found, [train, valid, test_in_order]);

    let lut = split(ProtocolName::Lut480);
    let train = "6c10400abc535a7e3874cbd7f550b379722973c5e47379b8b7f7bcb31318eba1";
    assert_eq!([&lut.train, &lut.test].map(|ids| hash(ids)), [train, test]);

    let upe = split(ProtocolName::Upe);
    assert_eq!((upe.train.len(), upe.valid.len(), upe.test.len()), (4500, 0, 500));
    assert_eq!((upe.train[4499].as_str(), upe.test[0].as_str()), ("a4500", "a4501"));
}

#[test]
fn two_photographs_are_in_no_list_of_dpe() {
    let split = Protocol::new(ProtocolName::Dpe).split();
    let listed: BTreeSet<String> =
        [split.train, split.valid, split.test].into_iter().flatten().collect();
    let missing: Vec<String> =
        (1..=5000).map(|k| format!("a{k:04}")).filter(|id| !listed.contains(id)).collect();
    assert_eq!(missing, ["a0160", "a2952"]);
}

#[test]
fn a_protocol_survives_serde_and_names_itself() {
    for name in ProtocolName::ALL {
        let protocol = Protocol::new(name).with_target(Expert::A);
        let json = serde_json::to_string(&protocol).expect("serialises");
        assert_eq!(json, format!(r#"{{"name":"{name}","target":"A"}}"#));
        assert_eq!(serde_json::from_str::<Protocol>(&json).expect("reads"), protocol);
        assert_eq!(name.as_str().parse(), Ok(name));
        assert_eq!(name.as_str().to_uppercase().parse(), Ok(name));
        let caption = protocol.to_string();
        assert!(caption.contains("Expert A") && caption.contains("8-bit sRGB"), "{caption}");
    }
    let lut: Protocol = serde_json::from_str(r#"{"name":"lut480"}"#).expect("reads");
    assert_eq!((lut.target, lut.size()), (Expert::C, SizeRule::ShortEdge(480)));
    assert_eq!(lut.input(), InputRendering::AsShot);
    assert!(serde_json::from_str::<Protocol>(r#"{"name":"dpe","size":3}"#).is_err());
    let error = "DPI".parse::<ProtocolName>().expect_err("no such name").to_string();
    let of_sid = "SID-Sony".parse::<ProtocolName>().expect_err("another set's").to_string();
    assert!(of_sid.contains("See-in-the-Dark") && of_sid.contains("`eval`"), "{of_sid}");
    assert!(error.contains("'DPI'") && error.contains("did you mean dpe?"), "{error}");
}

#[test]
fn sizes_keep_the_aspect_and_never_grow() {
    let (long, short) = (SizeRule::LongEdge(512), SizeRule::ShortEdge(480));
    assert_eq!(long.apply(4368, 2912), (512, 341));
    assert_eq!(long.apply(2592, 3872), (343, 512));
    assert_eq!(short.apply(4368, 2912), (720, 480));
    for size in [(300, 200), (512, 512), (1, 1)] {
        assert_eq!(long.apply(size.0, size.1), size);
    }
    assert_eq!(short.apply(480, 9000), (480, 9000));
    assert_eq!(long.apply(u32::MAX, 1), (512, 1));
}
