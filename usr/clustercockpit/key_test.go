package clustercockpit_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"omca/usr/clustercockpit"
)

// The pair of RFC 8032, 7.1, test 1, in the forms in which the programs around ClusterCockpit have it. The PEM is OpenSSL's.
const (
	publicText  = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
	privateText = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg=="
	seedText    = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
	demoText    = "kzfYrYy+TzpanWZHJ5qSdMj5uKUWgq74BWhQG6copP0="

	publicPEM = `-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----
`
	privatePEM = `-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
`
	generated = `ED25519 PUBLIC_KEY="11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
ED25519 PRIVATE_KEY="nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg=="
This is NO JWT token. You can generate JWT tokens with cc-backend. Use this keypair for signing and validation of JWT tokens in ClusterCockpit.
`
	dotEnv = `# Base64 encoded Ed25519 keys (DO NOT USE THESE TWO IN PRODUCTION!)
# JWT_PUBLIC_KEY="AAAA"
JWT_PUBLIC_KEY="11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
JWT_PRIVATE_KEY='nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg=='

# Some random bytes used as secret for cookie-based sessions (DO NOT USE THIS ONE IN PRODUCTION)
SESSION_KEY="67d829bf61dc5f87a73fd814e2c9f629"
`
)

func keys(t *testing.T) (ed25519.PublicKey, ed25519.PrivateKey) {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(privateText)
	if err != nil {
		t.Fatal(err)
	}
	return ed25519.PublicKey(raw[32:]), ed25519.PrivateKey(raw)
}

func TestParsePublicKey(t *testing.T) {
	want, _ := keys(t)
	for name, text := range map[string]string{
		"base64":       publicText,
		"with lines":   "\n " + publicText + " \r\n",
		"PEM":          publicPEM,
		"gen-keypair":  generated,
		".env":         dotEnv,
		"no quotes":    "JWT_PUBLIC_KEY=" + publicText,
		"exported":     "export JWT_PUBLIC_KEY='" + publicText + "'\n",
		"cross login":  `CROSS_LOGIN_JWT_PUBLIC_KEY="` + publicText + `"`,
		"metric store": `"jwt-public-key": "` + publicText + `",`,
		"config.json":  `{"main": {"addr": "0.0.0.0:8082", "jwt-public-key": "` + publicText + `"}}`,
		"twice":        "JWT_PUBLIC_KEY=" + publicText + "\nCROSS_LOGIN_JWT_PUBLIC_KEY=" + publicText + "\n",
	} {
		got, err := clustercockpit.ParsePublicKey([]byte(text))
		if err != nil || !got.Equal(want) {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
}

func TestParsePublicKeyRefuses(t *testing.T) {
	other := "JWT_PUBLIC_KEY=" + demoText
	for name, row := range map[string]struct{ text, want string }{
		"nothing":         {"", "it is empty"},
		"empty variable":  {`JWT_PUBLIC_KEY=""`, "JWT_PUBLIC_KEY: invalid: it is empty"},
		"private":         {privateText, "64 bytes, which is a private key"},
		"short":           {"AAAA", "3 bytes, want 32"},
		"no padding":      {strings.TrimRight(publicText, "="), "not standard base64"},
		"URL-safe":        {strings.ReplaceAll(publicText, "/", "_"), "not standard base64"},
		"loose bits":      {strings.Replace(publicText, "o=", "p=", 1), "not standard base64"},
		"broken line":     {publicText[:20] + "\n" + publicText[20:], "want base64, PEM"},
		"another name":    {"SESSION_KEY=" + publicText + "\n", "not standard base64"},
		"prose":           {"the key is with the admin", "want base64, PEM"},
		"two that differ": {other + "\n" + `CROSS_LOGIN_JWT_PUBLIC_KEY="` + publicText + `"`, "another key than the one before it"},
		"PEM of private":  {privatePEM, `want one PEM block "PUBLIC KEY"`},
		"two blocks":      {publicPEM + publicPEM, "nothing behind it"},
		"broken PEM":      {publicPEM[:60], "cannot be read"},
		"other DER":       {"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no key that can be read"},
		"EC":              {ecPEM, "want an Ed25519 key"},
		"all zero":        {strings.Repeat("A", 43) + "=", "small order"},
		"identity":        {"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "small order"},
		"sign of zero":    {"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIA=", "small order"},
		"a book":          {strings.Repeat("#\n", clustercockpit.MaxKeyText), "at most 65536 are looked at"},
	} {
		got, err := clustercockpit.ParsePublicKey([]byte(row.text))
		if !errors.Is(err, clustercockpit.ErrInvalid) || !strings.Contains(err.Error(), row.want) || got != nil {
			t.Errorf("%s: %x, %v, want %q", name, got, err, row.want)
		}
	}
}

const ecPEM = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt
6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==
-----END PUBLIC KEY-----
`

func TestParsePrivateKey(t *testing.T) {
	_, want := keys(t)
	for name, text := range map[string]string{
		"base64":      privateText + "\n",
		"PEM":         privatePEM,
		"gen-keypair": generated,
		".env":        dotEnv,
		"alone":       "JWT_PRIVATE_KEY=" + privateText,
	} {
		got, err := clustercockpit.ParsePrivateKey([]byte(text))
		if err != nil || !got.Equal(want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParsePrivateKeyRefuses(t *testing.T) {
	raw, err := base64.StdEncoding.DecodeString(privateText)
	if err != nil {
		t.Fatal(err)
	}
	raw[63] ^= 1
	half := base64.StdEncoding.EncodeToString(raw)
	for name, row := range map[string]struct{ text, want string }{
		"public":          {publicText, "32 bytes, which is a public key or a bare seed"},
		"seed":            {seedText, "32 bytes, which is a public key or a bare seed"},
		"long":            {base64.StdEncoding.EncodeToString(make([]byte, 65)), "65 bytes, want 64"},
		"another half":    {half, "second half is not the public key of its first"},
		"half in .env":    {"JWT_PRIVATE_KEY=" + half, "second half"},
		"another beside":  {"JWT_PUBLIC_KEY=" + demoText + "\nJWT_PRIVATE_KEY=" + privateText, "another pair"},
		"nothing beside":  {"JWT_PUBLIC_KEY=\"\"\nJWT_PRIVATE_KEY=" + privateText, "another pair"},
		"no such line":    {"JWT_PUBLIC_KEY=" + publicText + "\nSESSION_KEY=x\n", "want base64, PEM"},
		"PEM of a public": {publicPEM, `want one PEM block "PRIVATE KEY"`},
	} {
		got, err := clustercockpit.ParsePrivateKey([]byte(row.text))
		if !errors.Is(err, clustercockpit.ErrInvalid) || !strings.Contains(err.Error(), row.want) || got != nil {
			t.Errorf("%s: %v, want %q", name, err, row.want)
		}
		if err != nil && (strings.Contains(err.Error(), seedText[:20]) || strings.Contains(err.Error(), half[:20])) {
			t.Errorf("%s: the error has the key: %v", name, err)
		}
	}
}

func TestFormats(t *testing.T) {
	public, private := keys(t)
	for format, want := range map[clustercockpit.Format]string{
		clustercockpit.FormatBase64:      publicText + "\n",
		clustercockpit.FormatPEM:         publicPEM,
		clustercockpit.FormatEnv:         `JWT_PUBLIC_KEY="` + publicText + "\"\n",
		clustercockpit.FormatMetricStore: `"jwt-public-key": "` + publicText + "\"\n",
		clustercockpit.FormatCrossLogin:  `CROSS_LOGIN_JWT_PUBLIC_KEY="` + publicText + "\"\n",
	} {
		got, err := clustercockpit.FormatPublicKey(format, public)
		if err != nil || got != want {
			t.Errorf("public key as %s: %q, %v, want %q", format, got, err, want)
		}
		if back, err := clustercockpit.ParsePublicKey([]byte(got)); err != nil || !back.Equal(public) {
			t.Errorf("public key as %s: read back as %x, %v", format, back, err)
		}
	}
	lines := strings.SplitAfter(generated, "\n")
	for format, want := range map[clustercockpit.Format]string{
		clustercockpit.FormatBase64:     privateText + "\n",
		clustercockpit.FormatPEM:        privatePEM,
		clustercockpit.FormatEnv:        `JWT_PUBLIC_KEY="` + publicText + "\"\nJWT_PRIVATE_KEY=\"" + privateText + "\"\n",
		clustercockpit.FormatGenKeypair: lines[0] + lines[1],
	} {
		got, err := clustercockpit.FormatPrivateKey(format, private)
		if err != nil || got != want {
			t.Errorf("private key as %s: %q, %v, want %q", format, got, err, want)
		}
		if back, err := clustercockpit.ParsePrivateKey([]byte(got)); err != nil || !back.Equal(private) {
			t.Errorf("private key as %s: not read back: %v", format, err)
		}
	}
	if _, err := clustercockpit.FormatPrivateKey(clustercockpit.FormatCrossLogin, private); !errors.Is(err, clustercockpit.ErrInvalid) {
		t.Errorf("private key for a cross login: %v", err)
	}
	if _, err := clustercockpit.FormatPublicKey("jwk", public); !errors.Is(err, clustercockpit.ErrInvalid) {
		t.Errorf("unknown format: %v", err)
	}
	if _, err := clustercockpit.FormatPublicKey(clustercockpit.FormatPEM, public[:31]); !errors.Is(err, clustercockpit.ErrInvalid) {
		t.Errorf("short key: %v", err)
	}
}

func TestIsDemo(t *testing.T) {
	demo, err := clustercockpit.ParsePublicKey([]byte(demoText))
	if err != nil {
		t.Fatal(err)
	}
	public, _ := keys(t)
	if !clustercockpit.IsDemo(demo) || clustercockpit.IsDemo(public) {
		t.Error("the demonstration's key is not told from another")
	}
}

func FuzzParseKey(f *testing.F) {
	for _, seed := range []string{publicText, privateText, publicPEM, privatePEM, generated, dotEnv, ecPEM, `{"jwt-public-key": "` + publicText + `"}`, "JWT_PUBLIC_KEY="} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if public, err := clustercockpit.ParsePublicKey(text); err == nil {
			again, err := clustercockpit.FormatPublicKey(clustercockpit.FormatEnv, public)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := clustercockpit.ParsePublicKey([]byte(again)); err != nil || !bytes.Equal(back, public) {
				t.Fatalf("read back as %x, %v", back, err)
			}
		}
		if private, err := clustercockpit.ParsePrivateKey(text); err == nil {
			if !bytes.Equal(private, ed25519.NewKeyFromSeed(private.Seed())) {
				t.Fatal("accepted a key whose halves disagree")
			}
		}
	})
}
