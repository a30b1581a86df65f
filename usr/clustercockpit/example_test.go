package clustercockpit_test

import (
	"fmt"
	"log"
	"time"

	"omca/usr/clustercockpit"
)

// A service that is given the public key, as a metric store is, and nothing else.
func Example() {
	public, err := clustercockpit.ParsePublicKey([]byte(`"jwt-public-key": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="`))
	if err != nil {
		log.Fatal(err)
	}
	now := func() time.Time { return time.Unix(1_700_000_000, 0) } // time.Now in a service
	verifier, err := clustercockpit.NewVerifier(public, now)
	if err != nil {
		log.Fatal(err)
	}
	claims, err := verifier.Verify("eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJleHAiOjE3MDAwMDcyMDAsImlhdCI6MTcwMDAwMDAwMCwicm9sZXMiOlsiYXBpIl0sInN1YiI6ImRlbW8ifQ." +
		"k4g1q-NaEr6muBzaJoC_i7qrsaLBbmIhsFFUNmueTp2oY2jtc1IjAt67SCj7lV4w6A9-_zOTC52tmQRL6cmxBw")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(claims.Subject, claims.Roles, clustercockpit.OpensAPI(claims.Roles))
	// Output: demo [api] true
}

func ExampleSigner_Sign() {
	private, err := clustercockpit.ParsePrivateKey([]byte(`JWT_PRIVATE_KEY="nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg=="`))
	if err != nil {
		log.Fatal(err)
	}
	now := func() time.Time { return time.Unix(1_700_000_010, 0) } // time.Now in a service
	signer, err := clustercockpit.NewSigner(private, now)
	if err != nil {
		log.Fatal(err)
	}
	token, err := signer.Sign(clustercockpit.Claims{
		Subject: "demo", Roles: []clustercockpit.Role{clustercockpit.RoleAPI},
		Expires: now().Add(2000 * time.Hour),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(token)
	// Output: eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJleHAiOjE3MDcyMDAwMTAsImlhdCI6MTcwMDAwMDAwMCwicm9sZXMiOlsiYXBpIl0sInN1YiI6ImRlbW8ifQ.65IX27Bxx53thpRBYb2pwQy_jGWsfmdOLNbc3Gj4U_MfNLun2za5Qu-fn6FvVPH4eBb0SyUU9wUuODVbnvIwCQ
}

func ExampleFormatPublicKey() {
	public, err := clustercockpit.ParsePublicKey([]byte(`-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----`))
	if err != nil {
		log.Fatal(err)
	}
	text, err := clustercockpit.FormatPublicKey(clustercockpit.FormatCrossLogin, public)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(text)
	// Output: CROSS_LOGIN_JWT_PUBLIC_KEY="11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
}
