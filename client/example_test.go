package client_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"time"

	"chancery/client"
)

// A service that talks mutual TLS with others of the same CA. Certificates are
// renewed for as long as it runs.
func Example() {
	server, roots := exampleCA()
	ctx := context.Background()
	ca := &client.Client{Server: server, Roots: roots}

	keeper, err := client.Keep(ctx, client.Options{Client: ca, Token: oneTimeToken, Profile: "tls-mutual"})
	if err != nil {
		log.Fatal(err)
	}
	defer keeper.Close()

	service := &http.Server{Addr: exampleAddress, TLSConfig: keeper.ServerConfig(), Handler: http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(w, "hello", r.TLS.PeerCertificates[0].DNSNames[0])
		})}
	go func() { log.Print(service.ListenAndServeTLS("", "")) }()
	defer service.Close()

	web := &http.Client{Transport: &http.Transport{TLSClientConfig: keeper.ClientConfig()}}
	answer := get(web, "https://"+exampleAddress)
	fmt.Print(answer)
	// Output: hello web.corp.example
}

// A token is signed by who may decide about names, and used by who gets the
// certificate: one key for a deployment tool, none on the machines.
func ExampleToken() {
	server, roots := exampleCA()
	key, err := client.ReadKey(exampleKeyFile())
	if err != nil {
		log.Fatal(err)
	}
	token, err := client.Token{
		Provisioner: "deploy", Server: server, Key: key,
		Names: []string{"web.corp.example", "uri:spiffe://corp.example/web"},
	}.Sign()
	if err != nil {
		log.Fatal(err)
	}

	ca := &client.Client{Server: server, Roots: roots}
	certificate, err := ca.Issue(context.Background(), client.Request{Token: token})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(certificate.Leaf().DNSNames)
	// Output: [web.corp.example]
}

// Without a keeper, renewing is up to the program.
func ExampleClient_Renew() {
	server, roots := exampleCA()
	ctx := context.Background()
	ca := &client.Client{Server: server, Roots: roots}
	certificate, err := ca.Issue(ctx, client.Request{Token: must1(oneTimeToken(ctx))})
	if err != nil {
		log.Fatal(err)
	}

	window, err := ca.Renewal(ctx, certificate.Leaf())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("due in an hour:", window.Start.Before(time.Now().Add(time.Hour)))

	renewed, err := ca.Renew(ctx, certificate, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("same names:", renewed.Leaf().DNSNames[0] == certificate.Leaf().DNSNames[0])
	// Output:
	// due in an hour: true
	// same names: true
}

// Machines that do not have the root yet can be told its fingerprint.
func ExampleRootByFingerprint() {
	server, fingerprint := exampleFingerprint()
	root, err := client.RootByFingerprint(context.Background(), server, fingerprint)
	if err != nil {
		log.Fatal(err)
	}
	ca := &client.Client{Server: server, Roots: client.Pool(root)}
	provisioners, err := ca.Provisioners(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(provisioners[0].Name, provisioners[0].Type)
	// Output: deploy jwk
}

func get(web *http.Client, url string) string {
	for range 100 { // until the example's server listens
		answer, err := web.Get(url)
		if err != nil {
			continue
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err == nil {
			return string(text)
		}
	}
	return "no answer\n"
}
