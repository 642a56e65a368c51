package auth_test

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"sluice/gateway/auth"
)

func TestAnAPIKeyMayDoWhatItsLineSays(t *testing.T) {
	shop, line1, err := auth.NewKey("shop.eu-1", []string{"orders.*", "notifications:*"})
	if err != nil {
		t.Fatal(err)
	}
	ops, line2, err := auth.NewKey("ops", []string{"/revoke", "/admin"})
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]auth.Config{
		"a setting": {APIKeys: line1 + " ; " + line2 + ";"},
		"a file":    {APIKeysFile: file(t, []byte("# keys\n\n"+line1+"\r\n  "+line2+"\n"))},
	} {
		d := newDoor(t, cfg, nil)
		who, code := d.bearer(shop)
		if code != "" || who.Key != "shop.eu-1" || who.Subject != "" || who.Admin || who.Revoke || !who.Known() || who.Until != 0 {
			t.Errorf("%s: %+v %q", name, who, code)
		}
		for channel, want := range map[string]bool{"orders.7": true, "orders": false, "notifications": false, "notifications:ada": true} {
			if who.MayPublish(channel) != want || who.MayRead(channel) != want {
				t.Errorf("%s: %s: publish %v, read %v, want %v", name, channel, who.MayPublish(channel), who.MayRead(channel), want)
			}
		}
		if who, code := d.bearer(ops); code != "" || !who.Admin || !who.Revoke || !who.MayPublish("anything") {
			t.Errorf("%s: %+v %q", name, who, code)
		}
	}
	if strings.Contains(line1, shop[len("sluice_shop.eu-1_"):]) {
		t.Errorf("the line %s has the secret", line1)
	}
}

func TestAttackAWrongAPIKey(t *testing.T) {
	key, line, _ := auth.NewKey("shop", []string{"*"})
	d := newDoor(t, auth.Config{APIKeys: line}, nil)
	digest := sha256.Sum256([]byte(key))
	for name, presented := range map[string]string{
		"half": key[:len(key)/2], "one character more": key + "A", "small letters": strings.ToLower(key), "another name": strings.Replace(key, "shop", "ship", 1),
		"the digest": "sluice_shop_" + hex.EncodeToString(digest[:]), "only the prefix": "sluice_", "no secret": "sluice_shop_", "no name": "sluice__" + key[12:],
		"NUL": key + "\x00", "too long": key + strings.Repeat("A", 300),
	} {
		r := request("/")
		r.HTTP.Header["Authorization"] = []string{"Bearer " + presented}
		if who, code := d.identify(r); code != "invalid_key" {
			t.Errorf("%s: %+v %q", name, who, code)
		}
	}
	if _, code := d.bearer(key); code != "" {
		t.Errorf("the key itself: %q", code)
	}
}

func TestAKeyIsMadeForPatternsThatCanBeWrittenDown(t *testing.T) {
	for _, test := range []struct {
		name   string
		rights []string
	}{
		{"", []string{"orders"}}, {"a_b", []string{"orders"}}, {"a b", []string{"orders"}}, {strings.Repeat("x", 41), []string{"orders"}},
		{"shop", nil}, {"shop", []string{""}}, {"shop", []string{"a|b"}}, {"shop", []string{"a;b"}}, {"shop", []string{"*x"}}, {"shop", []string{"/root"}},
	} {
		if key, line, err := auth.NewKey(test.name, test.rights); err == nil {
			t.Errorf("%q %q: %s %s", test.name, test.rights, key, line)
		}
	}
}

// FuzzKeys: settings of any text are refused or read, and no key is let in that was not given.
func FuzzKeys(f *testing.F) {
	_, line, _ := auth.NewKey("shop", []string{"orders.*", "/revoke"})
	for _, s := range []string{line, line + ";" + line, "a:b:c", "a::", ":", ";", "shop:" + strings.Repeat("0", 64) + ":*", "#"} {
		f.Add(s, "sluice_shop_x")
	}
	f.Fuzz(func(t *testing.T, setting, presented string) {
		cfg := auth.Config{APIKeys: setting}
		if cfg.Validate() != nil {
			return
		}
		a, err := auth.New(cfg, nil, nil)
		if err != nil || a == nil {
			t.Skip()
		}
		r := request("/")
		r.HTTP.Header["Authorization"] = []string{"Bearer sluice_" + presented}
		s, err := a.Identify(t.Context(), r)
		if err != nil {
			return
		}
		digest := sha256.Sum256([]byte("sluice_" + strings.Trim(presented, " ")))
		if !strings.Contains(strings.ToLower(setting), hex.EncodeToString(digest[:])) {
			t.Errorf("%q lets %q in as %+v", setting, presented, s.Value())
		}
	})
}
