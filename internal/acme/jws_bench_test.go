package acme

import "testing"

// jwsBenchPayload is a newOrder of two names.
const jwsBenchPayload = `{"identifiers":[{"type":"dns","value":"www.example.com"},{"type":"dns","value":"example.com"}]}`

func BenchmarkJWSVerifyES256(b *testing.B)     { jwsBenchmark(b, "ES256") }
func BenchmarkJWSVerifyRS256(b *testing.B)     { jwsBenchmark(b, "RS256") }
func BenchmarkJWSVerifyEdDSA(b *testing.B)     { jwsBenchmark(b, "EdDSA") }
func BenchmarkJWSVerifyES256Jose(b *testing.B) { jwsBenchmarkJose(b, "ES256") }
func BenchmarkJWSVerifyRS256Jose(b *testing.B) { jwsBenchmarkJose(b, "RS256") }
func BenchmarkJWSVerifyEdDSAJose(b *testing.B) { jwsBenchmarkJose(b, "EdDSA") }

func jwsBenchmark(b *testing.B, algorithm string) {
	body := jwsTestJose(b, algorithm, false, []byte(jwsBenchPayload))
	public := jwsTestKeys()[algorithm].Public()
	b.ReportAllocs()
	for b.Loop() {
		jws, err := ParseJWS(body)
		if err != nil {
			b.Fatal(err)
		}
		if err := jws.Verify(public); err != nil {
			b.Fatal(err)
		}
	}
}

func jwsBenchmarkJose(b *testing.B, algorithm string) {
	body := jwsTestJose(b, algorithm, false, []byte(jwsBenchPayload))
	public := jwsTestKeys()[algorithm].Public()
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := jwsTestTwin(body, public); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkJWSParse is the gate without the signature.
func BenchmarkJWSParse(b *testing.B) {
	body := jwsTestJose(b, "ES256", false, []byte(jwsBenchPayload))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseJWS(body); err != nil {
			b.Fatal(err)
		}
	}
}
