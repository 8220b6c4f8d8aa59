package mask

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func plain() *Masker { return New(Options{}) }

func TestNoTextHasASecret(t *testing.T) {
	for name, text := range map[string]string{
		"a header":                          "Authorization: Bearer L3AK-me",
		"a header of two words":             "Authorization: Digest username=x, response=L3AK-me",
		"a cookie":                          "Cookie: theme=dark; session=L3AK-me",
		"a cookie's header in quotes":       `"Set-Cookie":"a=b; session=L3AK-me"`,
		"several words after a password":    "password: my long L3AK-me words",
		"a name in the words of a password": "password: token=a L3AK-me",
		"words of a message in a string":    `msg="login: password: my L3AK-me words"`,
		"a value with commas":               "password=a,b;L3AK-me user=x",
		"an escaped quote":                  `{"password":"ab\"L3AK-me tail"}`,
		"JSON in a string":                  `body="{\"apiKey\": \"ab\\\"L3AK-me\"}"`,
		"a backslash before the quote":      `{"password":"L3AK-me\\","next":"x"}`,
		"a string that does not end":        `{"password":"L3AK-me`,
		"single quotes":                     `{'passwd': 'a L3AK-me'}`,
		"a name and a value":                `{"name":"DB_PASSWORD","value":"L3AK-me"}`,
		"a name and a value of YAML":        "- name: DB_PASSWORD\n  value: L3AK-me\n",
		"a name and a value as Go shows it": `EnvVar{Name:DB_PASSWORD,Value:L3AK-me,ValueFrom:nil,}`,
		"a variable as Go prints it":        `env=[{MODE fast nil} {DB_PASSWORD my L3AK-me nil}]`,
		"a list":                            "tokens=[A L3AK-me]",
		"a list of strings":                 `{"tokens":["A","L3AK-me"]}`,
		"a map":                             `token: {value: L3AK-me}`,
		"a map in a map":                    `{"credentials":{"a":{"b":1},"c":"L3AK-me"}}`,
		"a bracket in a string in a map":    `{"credentials":{"a":"}","c":"L3AK-me"}}`,
		"a map as Go prints it":             "map[password:L3AK-me user:x]",
		"a number":                          "password: 1L3AK-me",
		"a list over lines":                 "tokens:\n- A\n- L3AK-me\nnext: 1",
		"a block of lines":                  "x:\n  password: |\n    A\n    L3AK-me\n  y: 1\n",
		"JSON over lines":                   "{\n  \"tokens\": [\n    \"L3AK-me\"\n  ]\n}\n",
		"a value on the next line":          "password:\nL3AK-me\nnext: 1",
		"a string on the next line":         "{\"password\":\n\"L3AK-me\"}",
		"a string of a map below":           "{\"a\":{\"password\":\n\"L3AK-me\"}}",
		"words that begin with a number":    "secret: 12 horses L3AK-me",
		"a list that begins later":          "config: tokens: [\n  L3AK-me\n]\n",
		"auth":                              `{"auths":{"registry.example.com":{"auth":"L3AK-me"}}}`,
		"a short name":                      "DB_PASS=L3AK-me PGPASS=L3AK-me sig=L3AK-me basicAuth: L3AK-me",
		"keys":                              "AccountKey=L3AK-me;license-key: L3AK-me encryption_key=L3AK-me",
		"a connection":                      "--conn=Endpoint=x;AccountKey=L3AK-me==;Suffix=y",
		"a URL's parameter":                 "GET https://x.example.com/a?sv=1&sig=L3AK-me&b=c",
		"a URL's user":                      "https://me:p@ss:L3AK-me@host/x",
		"a signature":                       "AWS4-HMAC-SHA256 Credential=L3AK-me/x, SignedHeaders=host, Signature=L3AK-me",
		"a flag":                            "run --auth L3AK-me",
		"a flag with quotes":                `args=["--password","L3AK-me"]`,
		"a flag's value":                    "--dockercfg={\"auth\":\"L3AK-me\"} --pass=L3AK-me",
		"keys of other names":               "hmac_key=L3AK-me tls.key: L3AK-me tls-key=L3AK-me",
		"a license":                         "license=L3AK-me licence: L3AK-me",
		"more short names":                  "pw=L3AK-me otp_code=L3AK-me",
		"a value before its name":           `{"value":"L3AK-me","name":"DB_PASSWORD"}`,
		"a value in short":                  `{"key":"DB_PASSWORD","val":"L3AK-me"}`,
		"an element":                        "<db><password>L3AK-me</password></db>",
		"a database's user":                 "open me:L3AK-me@tcp(db:3306)/x",
		"a user of curl":                    "curl -s -u me:L3AK-me https://x.example.com",
		"a password in quotes":              `using password "L3AK-me" for me`,
		"a password in quotes in a string":  `msg="using password \"L3AK-me\"" node="a"`,
		"a tokenizer's token":               "tokenizer-token: L3AK-me tokenizer_api_key=L3AK-me",
		"a private key":                     "-----BEGIN EC PRIVATE KEY-----\nL3AK-me\n-----END EC PRIVATE KEY-----\n",
		"a token by its look":               "using nvapi-L3AK-me-0123456789abcdef and ghp_L3AK0me0123456789abcdef L3AK",
	} {
		t.Run(name, func(t *testing.T) {
			got := plain().mask(text)
			if strings.Contains(strings.ToUpper(got), "L3AK-ME") || !strings.Contains(got, Hidden) {
				t.Errorf("%s\nbecomes\n%s", text, got)
			}
			if again := plain().mask(got); again != got {
				t.Errorf("%s\nbecomes\n%s\nand then\n%s", text, got, again)
			}
			logged := asLogged(text)
			if got := plain().mask(logged); strings.Contains(strings.ToUpper(got), "L3AK-ME") {
				t.Errorf("%s\nbecomes\n%s", logged, got)
			}
		})
	}
}

// asLogged puts the time before each line, as Kubernetes gives a log.
func asLogged(text string) string {
	const time = "2026-11-23T10:00:00.123456789Z "
	last := strings.HasSuffix(text, "\n")
	text = time + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n"+time)
	if last {
		text += "\n"
	}
	return text
}

func TestALineThatEndsWithASecretsNameStays(t *testing.T) {
	for _, text := range []string{
		"E1123 cannot start because of bad credentials:\n  main.run(0x1)\n\t/src/main.go:45 +0x1d\nnext",
		"cannot read secret:\nfailed to fetch token:\n",
		"password:\nuser: me\n",
		"password:\n",
		"DB_PASSWORD=\nUSER=me\n",
	} {
		for _, text := range []string{text, asLogged(text)} {
			if got := plain().mask(text); got != text {
				t.Errorf("%s\nbecomes\n%s", text, got)
			}
		}
	}
}

func TestTextThatTellsOfTroubleStaysAsItIs(t *testing.T) {
	for _, text := range []string{
		`0/3 nodes are available: 3 cannot allocate all claims. preemption: 0/3 nodes are available`,
		`I1123 10:00:00.123456       1 prepare.go:45] "Prepared" claim="team-a/train-0" uid="0a1b-2c3d" device="gpu-0"`,
		`E1123 10:00:00.123456       1 token.go:45] "no device" err="open /dev/nvidia0: no such file or directory"`,
		`{"level":"info","ts":1.5,"msg":"published","pool":"node-a","devices":8,"generation":3}`,
		`Error: device gpu-3 is held by claim team-a/train-0-gpu (uid 0a1b); see "kubectl dra devices"`,
		`secrets "db-password" is forbidden: User "system:serviceaccount:dra:driver" cannot get resource "secrets"`,
		`dragoman_devices{state="free"} 3`,
		`GPU-5d1c7a3e-7c1d-4c64-9d4a-000000000000 at 0000:65:00.0: XID 79, the GPU has fallen off the bus`,
		`NodePrepareResources failed for ResourceClaim train-0: rpc error: code = Unknown desc = strategy: Unsupported value`,
		`--kubeconfig=/etc/kube/config --v=4 --token-file=/var/run/token --node-name node-a`,
		`cel: device.attributes["gpu.example.com"].model == "H100"`,
		`author: me, authority: none, bypass=yes, compass: north, signal: terminated, passthrough: on`,
		"a bearer of news",
		"node sk-bratislava-gpu-node-0001: ready",
		`open /etc/tls/tls.key: no such file or directory`,
		`fetch token: serviceaccounts "drv" is forbidden: User "u" cannot create resource "serviceaccounts/token"`,
		`fetch token: Post "https://api.example.com/token": context deadline exceeded`,
		"credentials: not found, secret: not found; license: expired",
		"authorization: denied by policy p1: device gpu-0 not allowed",
		"tokenizer: gpt2, num_tokens=123456, tokens_per_second=1200.5, output_tokens_total: 123456789",
		"pass=3 fail=0, max_tokens: 5, tokens: 1200",
		`DRAResourceClaimGranularStatusAuthorization=true, useToken: false, "secret": null`,
	} {
		if got := plain().mask(text); got != text {
			t.Errorf("%s\nbecomes\n%s", text, got)
		}
	}
}

func TestWhatHasANameIsNoSecret(t *testing.T) {
	known := []string{"token-gpu", "secret-scanner", "token"}
	m := New(Options{IsName: func(text string) bool { return slices.Contains(known, text) }})
	for text, want := range map[string]string{
		"claim team-a/token-gpu: selector #0: error":         "claim team-a/token-gpu: selector #0: error",
		"ResourceClaim secret-scanner: set up gpu-0: busy":   "ResourceClaim secret-scanner: set up gpu-0: busy",
		"ResourceClaim secret-other: set up":                 "ResourceClaim secret-other: [masked]",
		"token: abc token-gpu=abc":                           "token: [masked] token-gpu=[masked]",
		"claim team-a/token-gpu: password: my long password": "claim team-a/token-gpu: password: [masked]",
	} {
		if got := m.Text(text); got != want {
			t.Errorf("%q becomes\n%q, and not\n%q", text, got, want)
		}
	}
}

func TestAddressesAreMaskedInText(t *testing.T) {
	isName := func(text string) bool { return text == "192.0.2.7" }
	for text, want := range map[string]string{
		"dial tcp 10.96.0.1:443: connect: refused":     "dial tcp [address]:443: connect: refused",
		`Get "http://[fd00::1]:8080/healthz": refused`: `Get "http://[[address]]:8080/healthz": refused`,
		"from fe80::1:":                                   "from [address]:",
		"route 10.0.0.0/8 via 192.0.2.1.":                 "route [address]/8 via [address].",
		"node 192.0.2.7 has gone":                         "node 192.0.2.7 has gone",
		"on 127.0.0.1:8080, [::1]:8080 and 0.0.0.0":       "on 127.0.0.1:8080, [::1]:8080 and 0.0.0.0",
		"driver 580.95.5.1, library 1.2.3.4.5 and v1.2.3": "driver 580.95.5.1, library 1.2.3.4.5 and v1.2.3",
		"v192.0.2.1 and a192.0.2.1":                       "v192.0.2.1 and a192.0.2.1",
		"gpu at 0000:65:00.0 at 12:00:00.5, std::map":     "gpu at 0000:65:00.0 at 12:00:00.5, std::map",
	} {
		if got := maskAddresses(text, isName); got != want {
			t.Errorf("%q becomes\n%q, and not\n%q", text, got, want)
		}
	}
}

const certificate = "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----\n"

func TestWhatLooksLikeASecretIsMasked(t *testing.T) {
	for text, want := range map[string]string{
		"Authorization: Bearer abc.def-123":              "Authorization: [masked]",
		`"Authorization":"Basic dXNlcjpwYXNz", "x":1`:    `"Authorization":"[masked]", "x":1`,
		"sent bearer abcdefgh12345 to it":                "sent bearer [masked] to it",
		"a bearer of news":                               "a bearer of news",
		"password=hunter2 user=me":                       "password=[masked] user=me",
		`{"clientSecret": "a b c", "n": 1}`:              `{"clientSecret": "[masked]", "n": 1}`,
		`{\"apiKey\": \"abc\"}`:                          `{\"apiKey\": \"[masked]\"}`,
		"--token abc --v=4":                              "--token [masked] --v=4",
		"token: abc of node-a":                           "token: [masked] of node-a",
		`msg="password: a b" node="node-a"`:              `msg="password: [masked]" node="node-a"`,
		`"a=\"token=b\"" node="node-a"`:                  `"a=\"token=[masked]\"" node="node-a"`,
		`x="{\"token\":\"a" node="node-a"`:               `x="{\"token\":\"[masked]" node="node-a"`,
		"--api-key=abc,def":                              "--api-key=[masked]",
		"https://me:hunter2@registry.example.com/v2":     "https://[masked]@registry.example.com/v2",
		"pull https://registry.example.com/v2/@sha":      "pull https://registry.example.com/v2/@sha",
		"got eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJr.c2ln now": "got [masked] now",
		"AWS_SECRET_ACCESS_KEY: xyz":                     "AWS_SECRET_ACCESS_KEY: [masked]",
		"claim team-a/train-0 prepared in 4ms":           "claim team-a/train-0 prepared in 4ms",
		"a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nb\n": "a\n[masked]\nb\n",
		"a\n-----BEGIN PRIVATE KEY-----\nMIIE\n":                                       "a\n[masked]\n",
		certificate:                                                                    certificate,
	} {
		if got := plain().mask(text); got != want {
			t.Errorf("%q becomes\n%q, and not\n%q", text, got, want)
		}
	}
}

func TestATokenIsKnownByHowItBegins(t *testing.T) {
	for _, token := range []string{
		"sk-abc0de0123456789abcdef", "sk-proj-abc-de0123456789abcdef",
		"hvs.abc-de0123456789abcdef", "npm_abc0de0123456789abcdef",
		"dckr_pat_abc-de0123456789abcdef",
		"AIzaabc-de0123456789abcdef0123456789",
	} {
		if got := plain().mask("got " + token + " now"); got != "got [masked] now" {
			t.Errorf("%s becomes %q", token, got)
		}
	}
}

func FuzzMask(f *testing.F) {
	f.Add("password=", " user=me")
	f.Add("-----BEGIN PRIVATE KEY-----\n", "\n")
	f.Add("https://me:", "@host")
	f.Fuzz(func(t *testing.T, before, after string) {
		const token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJlb2ZpdA"
		for _, text := range []string{
			before + " " + token + " " + after,
			before + "\nAuthorization: Bearer Zm9vYmFyYmF6cXV4\n" + after,
			before + "\npassword=Zm9vYmFyYmF6cXV4\n" + after,
		} {
			if got := plain().mask(text); strings.Contains(got, token) || strings.Contains(got, "Zm9vYmFyYmF6cXV4") {
				t.Errorf("%q becomes %q", text, got)
			}
		}
	})
}

func FuzzDocument(f *testing.F) {
	f.Add([]byte(`{"kind":"K","password":"x","l":[1]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if made, is := plain().document(raw); is && !json.Valid([]byte(made)) {
			t.Errorf("%q becomes %q, which is not JSON", raw, made)
		}
	})
}
