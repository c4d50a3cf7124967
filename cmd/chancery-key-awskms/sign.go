package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"
)

// credentials are an access key of AWS. They are never printed.
type credentials struct {
	id, secret string
	token      string // of a session; "" for none
}

// The forms of time in Signature Version 4.
const (
	amzTime = "20060102T150405Z"
	amzDate = "20060102"
)

// authorize signs a request with AWS Signature Version 4 ("Signature Version 4
// signing process", AWS General Reference): the path, all headers that are set,
// and the body. The request has no query.
func authorize(request *http.Request, body []byte, c credentials, region, service string, now time.Time) {
	now = now.UTC()
	request.Header.Set("X-Amz-Date", now.Format(amzTime))
	if c.token != "" {
		request.Header.Set("X-Amz-Security-Token", c.token)
	}
	names, headers := canonicalHeaders(request)
	canonical := strings.Join([]string{request.Method, request.URL.EscapedPath(), "", headers, names, hexHash(body)}, "\n")
	scope := strings.Join([]string{now.Format(amzDate), region, service, "aws4_request"}, "/")
	toSign := strings.Join([]string{"AWS4-HMAC-SHA256", now.Format(amzTime), scope, hexHash([]byte(canonical))}, "\n")
	key := []byte("AWS4" + c.secret)
	for part := range strings.SplitSeq(scope, "/") {
		key = mac(key, part)
	}
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+c.id+"/"+scope+
		", SignedHeaders="+names+", Signature="+hex.EncodeToString(mac(key, toSign)))
}

// canonicalHeaders returns the names of the headers and a line for each.
func canonicalHeaders(request *http.Request) (names, lines string) {
	values := map[string]string{"host": request.URL.Host}
	sorted := []string{"host"}
	for name, all := range request.Header {
		name = strings.ToLower(name)
		trimmed := make([]string, len(all))
		for i, value := range all {
			trimmed[i] = strings.Join(strings.Fields(value), " ")
		}
		values[name] = strings.Join(trimmed, ",")
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	var text strings.Builder
	for _, name := range sorted {
		text.WriteString(name + ":" + values[name] + "\n")
	}
	return strings.Join(sorted, ";"), text.String()
}

func hexHash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
