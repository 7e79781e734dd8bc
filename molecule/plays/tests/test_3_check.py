"""Check mode lists the changes on a host that lacks the engine and the models, and changes nothing."""


def test_check_mode_without_engine_and_models(host, play, serving):
    before = serving()
    missing = {"engine_path": "/opt/roundhouse/engine/none", "hub_path": "/opt/roundhouse/hub/none"}
    missing |= {"lab_model": "lab/po", "models_store": "/srv/none"}
    result = play(missing, "site.yml", "--check", "--diff")
    assert result.returncode == 0, result.stdout
    assert "TASK [engine : Build the environment from its lock" in result.stdout
    assert "would pull lab/po at main" in result.stdout
    assert "+model: /srv/none/lab/po/main" in result.stdout
    assert not host.file("/srv/none").exists
    assert not host.file("/opt/roundhouse/engine/none").exists
    assert serving() == before
