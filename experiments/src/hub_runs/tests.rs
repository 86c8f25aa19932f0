//! Pushing and pulling against [`stand_in`](super::stand_in).

use std::{fs, path::Path};

use deeplpf_core::{
    DType, Device, Initialisation, Model, ModelConfig, checkpoint::write_safetensors,
};
use deeplpf_train::TrainConfig;

use super::{
    HubRunError, PullRequest, PushRequest,
    client::Settings,
    pull::pull,
    push::push,
    stand_in::{COMMIT, Hub, TOKEN, start},
};

fn settings(endpoint: &str, token: Option<&str>) -> Settings {
    Settings {
        endpoint: endpoint.into(),
        token: token.map(Into::into),
        token_file: "home/token".into(),
    }
}

fn run(folder: &Path) {
    let config = TrainConfig {
        run: "/home/somebody/runs/small".into(),
        model: ModelConfig::small(),
        data: deeplpf_train::DataConfig {
            source: "/home/somebody/photos".into(),
            ..Default::default()
        },
        ..TrainConfig::default()
    };
    fs::create_dir_all(folder.join("checkpoints")).unwrap();
    fs::write(folder.join("config.toml"), config.to_toml()).unwrap();
    fs::write(
        folder.join("metrics.jsonl"),
        "{\"epoch\":1,\"step\":16,\"loss\":0.5,\"lab\":0.5,\"ms_ssim\":0.9,\"valid_psnr\":21.25,\"seconds\":1.0}\n",
    )
    .unwrap();
    let model =
        Model::new(&config.model, Initialisation::Identity, 1, DType::F32, &Device::Cpu).unwrap();
    write_safetensors(&model, &folder.join("checkpoints/best.safetensors")).unwrap();
}

fn request(run: &Path) -> PushRequest {
    PushRequest {
        run: run.into(),
        to: "me/small".parse().unwrap(),
        revision: "main".into(),
        private: false,
    }
}

fn wish(out: &Path) -> PullRequest {
    PullRequest {
        from: "me/small".parse().unwrap(),
        revision: "main".into(),
        out: out.into(),
        file: None,
    }
}

#[test]
fn a_run_goes_to_the_hub_and_comes_back() {
    let room = tempfile::tempdir().unwrap();
    let (there, back) = (room.path().join("run"), room.path().join("deep/back"));
    run(&there);
    let (address, hub) = start(Hub::default());
    let own = settings(&address, Some(TOKEN));
    let sent = push(&PushRequest { private: true, ..request(&there) }, &own).unwrap();
    assert_eq!(sent.commit, COMMIT);
    assert_eq!(sent.files.len(), 4);
    {
        let hub = hub.lock().unwrap();
        assert!(hub.private && hub.commits == 1 && hub.large == ["checkpoints/best.safetensors"]);
        let card = std::str::from_utf8(&hub.files["README.md"]).unwrap();
        for part in [
            "---\nlibrary_name: deeplpf\n",
            "| data | photos |",
            "| fixes of the release | all |",
            "| dialect | release |",
            "21.25 dB, after epoch 1",
            "not the checkpoint of the paper's authors",
        ] {
            assert!(card.contains(part), "{part}: {card}");
        }
        for bytes in hub.files.values() {
            let text = String::from_utf8_lossy(bytes);
            assert!(!text.contains("somebody") && !text.contains(TOKEN));
        }
    }
    let fetched = pull(&wish(&back), &own).unwrap();
    assert!(fetched.is_run && fetched.commit == COMMIT && fetched.files.len() == 4);
    for name in ["checkpoints/best.safetensors", "metrics.jsonl"] {
        assert_eq!(fs::read(back.join(name)).unwrap(), fs::read(there.join(name)).unwrap());
    }
    let left: Vec<_> = fs::read_dir(room.path().join("deep")).unwrap().collect();
    assert_eq!(left.len(), 1);
    // Hidden from others; nothing is written over.
    let error = pull(&wish(&room.path().join("b")), &settings(&address, None)).unwrap_err();
    assert!(matches!(error, HubRunError::Absent { .. }), "{error}");
    assert!(matches!(pull(&wish(&back), &own), Err(HubRunError::Exists { .. })));
    // Again, to a branch: what is stored is not stored twice.
    hub.lock().unwrap().cuts_uploads = true;
    push(&PushRequest { revision: "exp/one".into(), ..request(&there) }, &own).unwrap();
    assert_eq!(hub.lock().unwrap().branches, ["exp/one"]);
}

#[test]
fn pushes_that_fail_change_nothing_and_say_why() {
    let room = tempfile::tempdir().unwrap();
    let there = room.path().join("run");
    let (address, hub) = start(Hub::default());
    let own = settings(&address, Some(TOKEN));
    let refused = |settings: &Settings| push(&request(&there), settings).unwrap_err();
    let is = |error: HubRunError, parts: &[&str]| {
        let text = error.to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        assert!(!text.contains("hf_") && !text.contains('\n'), "{text}");
    };
    is(refused(&own), &["no run folder", "no such folder"]);
    fs::create_dir(&there).unwrap();
    is(refused(&own), &["no run folder", "no config.toml"]);
    run(&there);
    is(refused(&settings(&address, None)), &["HF_TOKEN", "home/token"]);
    is(refused(&settings(&address, Some("hf_wrong"))), &["refuses the token (401)", "me/small"]);
    hub.lock().unwrap().cuts_uploads = true;
    is(refused(&own), &["cannot send checkpoints/best.safetensors", "nothing was committed"]);
    // Port 9 is of the discard service, which nobody runs.
    is(refused(&settings("http://127.0.0.1:9", Some(TOKEN))), &["cannot ask for me/small"]);
    let private = PushRequest { private: true, ..request(&there) };
    is(push(&private, &own).unwrap_err(), &["public", "nothing was sent"]);
    let bad = PushRequest { revision: "a b".into(), ..request(&there) };
    is(push(&bad, &own).unwrap_err(), &["`a b` is no revision"]);
    assert_eq!(hub.lock().unwrap().commits, 0);

    let best = fs::File::options().write(true).open(there.join("checkpoints/best.safetensors"));
    best.unwrap().set_len(super::MOST_WEIGHT_BYTES + 1).unwrap();
    is(refused(&own), &["checkpoints/best.safetensors has 268435457 bytes", "at most 268435456"]);
    fs::remove_file(there.join("checkpoints/best.safetensors")).unwrap();
    is(refused(&own), &["has no checkpoints/best.safetensors yet"]);
    for name in ["small", "a/b/c", "../x", "me/", "a b/c"] {
        is(name.parse::<super::HubRepository>().unwrap_err(), &["OWNER/NAME"]);
    }
}

#[test]
fn pulls_that_fail_write_nothing_and_say_why() {
    let room = tempfile::tempdir().unwrap();
    let there = room.path().join("run");
    run(&there);
    let out = room.path().join("out");
    let (address, hub) = start(Hub::default());
    let own = settings(&address, Some(TOKEN));
    let refused = |parts: &[&str]| {
        let text = pull(&wish(&out), &own).unwrap_err().to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        assert!(!out.exists());
        assert_eq!(fs::read_dir(room.path()).unwrap().count(), 1);
    };
    refused(&["the hub has no me/small at revision main"]);
    hub.lock().unwrap().exists = true;
    refused(&["holds neither a run"]);
    push(&request(&there), &own).unwrap();
    hub.lock().unwrap().damages = true;
    refused(&["config.toml", "damaged on the way", "nothing was written"]);
    hub.lock().unwrap().damages = false;
    hub.lock().unwrap().lies = Some(1 << 40);
    refused(&["has 1099511627776 bytes, and at most"]);
    hub.lock().unwrap().lies = None;
    let config = hub.lock().unwrap().files.insert("config.toml".into(), b"nonsense = 1\n".into());
    refused(&["config.toml of me/small cannot be used", "nonsense"]);
    assert!(config.is_some());

    // Without a configuration it is weights alone, also below folders.
    hub.lock().unwrap().files.remove("config.toml");
    let fetched = pull(&wish(&out), &own).unwrap();
    assert!(!fetched.is_run && fetched.files == ["best.safetensors"]);
    assert!(out.join("best.safetensors").is_file());
    fs::remove_dir_all(&out).unwrap();
    hub.lock().unwrap().files.insert("b.pt".into(), b"no weights".into());
    refused(&["b.pt, checkpoints/best.safetensors", "--file"]);
    let chosen = PullRequest { file: Some("b.pt".into()), ..wish(&out) };
    let text = pull(&chosen, &own).unwrap_err().to_string();
    assert!(text.contains("b.pt of me/small cannot be used"), "{text}");
}
