package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"omca/usr/token"
)

// tokens measures what a token costs: to verify the first time, and on each call after that.
func (b *bench) tokens(ctx context.Context) error {
	d, _, err := b.start(ctx, "tokens")
	if err != nil {
		return err
	}
	defer d.stop() // the figures are what counts
	text, err := d.omca(ctx, "token", "issue", "--subject", "bench", "--duration", "1h")
	if err != nil {
		return err
	}
	compact := strings.TrimSpace(string(text))
	stored, err := d.omca(ctx, "system/sec/jwt", "key", "decode", "--name", "keys")
	if err != nil {
		return err
	}
	if err := b.verification(compact, stored); err != nil {
		return err
	}
	return b.whoamiByToken(ctx, d, compact)
}

// verification holds all that is checked of a token before anything is remembered of it against the signature and the JSON alone.
func (b *bench) verification(compact string, stored []byte) error {
	const rounds, each = 9, 1000
	keys, err := token.ParseKeySet(stored)
	if err != nil {
		return err
	}
	public := keys.Current().Public
	var ratios, costs []float64
	for range rounds {
		bare, err := timed(func() error {
			for range each {
				if err := bareToken(public, compact); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		ours, err := timed(func() error {
			for range each {
				if _, err := keys.Open(compact, time.Now()); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		ratios, costs = append(ratios, float64(ours)/float64(bare)), append(costs, float64(ours.Microseconds())/each)
	}
	b.report.add("token verified / bare Ed25519 and JSON", "at most 1.3", fmt.Sprintf("one goroutine, %d rounds of %d each in turn, median", rounds, each),
		"%.2f (%.0f us)", median(ratios), median(costs))
	return nil
}

// bareToken is the least that verifying a token can cost: the standard library, nothing checked but the signature.
func bareToken(public ed25519.PublicKey, compact string) error {
	parts := strings.Split(compact, ".")
	var decoded [3][]byte
	for i, part := range parts {
		var err error
		if decoded[i], err = base64.RawURLEncoding.DecodeString(part); err != nil {
			return err
		}
	}
	var header struct{ Alg, Kid, Typ string }
	var claims struct {
		Iss, Sub, Jti string
		Aud, Grant    []string
		Iat, Nbf, Exp int64
		Use           string `json:"token_use"`
	}
	if err := errors.Join(json.Unmarshal(decoded[0], &header), json.Unmarshal(decoded[1], &claims)); err != nil {
		return err
	}
	if !ed25519.Verify(public, []byte(parts[0]+"."+parts[1]), decoded[2]) || !bytes.Equal([]byte(header.Alg), []byte("EdDSA")) {
		return errors.New("the signature is not good")
	}
	return nil
}

// bearerTransport adds a token to each request.
type bearerTransport struct {
	http.RoundTripper
	token string
}

func (t bearerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+t.token)
	return t.RoundTripper.RoundTrip(r)
}

// whoamiByToken holds a call with a token against an empty handler that gets the same request.
func (b *bench) whoamiByToken(ctx context.Context, d *daemon, compact string) error {
	const rounds, each, clients = 7, 4000, 8
	empty, err := d.startEmpty(ctx)
	if err != nil {
		return err
	}
	defer empty.stop()
	var all []*http.Client
	for range clients {
		c := d.as(tls.Certificate{})
		c.Transport.(*http.Transport).TLSClientConfig.Certificates = nil
		c.Transport = bearerTransport{c.Transport, compact}
		defer c.CloseIdleConnections()
		all = append(all, c)
	}
	var ratios, rates []float64
	for range rounds {
		nothing, err := rateOf(all, "https://"+empty.address+"/", each)
		if err != nil {
			return err
		}
		whoami, err := rateOf(all, "https://"+d.address+"/whoami", each)
		if err != nil {
			return err
		}
		ratios, rates = append(ratios, whoami/nothing), append(rates, whoami)
	}
	b.report.add("whoami by token: rate / rate of an empty Go handler", "at least 0.6",
		fmt.Sprintf("%d keep-alive TLS connections, %d rounds of %d requests each in turn, median", clients, rounds, each), "%.2f (%.0f/s)", median(ratios), median(rates))
	return nil
}
