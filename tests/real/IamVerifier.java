import java.net.URI;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Arrays;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.UnsupportedCallbackException;
import javax.security.auth.login.AppConfigurationEntry;
import org.apache.kafka.common.security.auth.AuthenticateCallbackHandler;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerToken;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallback;

/**
 * The broker's side of MSK's IAM, as far as it is public: a token is a presigned URL (AWS Signature Version 4) of
 * kafka-cluster:Connect in base64url. The identities that it knows, and a line for each token that it took, are in
 * the folder that the system property `iam` names: `keys` has lines of key, secret and session token or `-`.
 */
public class IamVerifier implements AuthenticateCallbackHandler {
    private static final String EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    private final Path folder = Path.of(System.getProperty("iam"));

    @Override
    public void configure(Map<String, ?> configs, String mechanism, List<AppConfigurationEntry> entries) {}

    @Override
    public void close() {}

    @Override
    public void handle(Callback[] callbacks) throws UnsupportedCallbackException {
        for (Callback callback : callbacks) {
            if (!(callback instanceof OAuthBearerValidatorCallback)) throw new UnsupportedCallbackException(callback);
            OAuthBearerValidatorCallback asked = (OAuthBearerValidatorCallback) callback;
            try {
                asked.token(verify(asked.tokenValue()));
            } catch (Exception e) {
                note("refused", String.valueOf(e.getMessage()));
                asked.error("invalid_token", null, null);
            }
        }
    }

    private OAuthBearerToken verify(String value) throws Exception {
        URI url = URI.create(new String(Base64.getUrlDecoder().decode(value), StandardCharsets.UTF_8));
        TreeMap<String, String> raw = new TreeMap<>();
        for (String pair : url.getRawQuery().split("&")) {
            String[] parts = pair.split("=", 2);
            raw.put(parts[0], parts[1]);
        }
        String signature = raw.remove("X-Amz-Signature");
        raw.remove("User-Agent"); // added after it was signed
        String[] scope = decoded(raw, "X-Amz-Credential").split("/");
        expect("kafka-cluster:Connect", decoded(raw, "Action"));
        expect("AWS4-HMAC-SHA256", decoded(raw, "X-Amz-Algorithm"));
        expect("kafka-cluster", scope[3]);
        expect("kafka." + scope[2] + ".amazonaws.com", url.getHost());
        String[] identity = Files.readAllLines(folder.resolve("keys")).stream().map(line -> line.split(" "))
            .filter(line -> line[0].equals(scope[0])).findFirst()
            .orElseThrow(() -> new IllegalArgumentException("unknown key " + scope[0]));
        expect(identity[2], raw.containsKey("X-Amz-Security-Token") ? decoded(raw, "X-Amz-Security-Token") : "-");
        Instant signed = DateTimeFormatter.ofPattern("yyyyMMdd'T'HHmmss'Z'").withZone(ZoneOffset.UTC)
            .parse(raw.get("X-Amz-Date"), Instant::from);
        long lifetime = signed.plusSeconds(Long.parseLong(raw.get("X-Amz-Expires"))).toEpochMilli();
        if (lifetime < System.currentTimeMillis()) throw new IllegalArgumentException("expired");

        StringBuilder query = new StringBuilder();
        raw.forEach((key, text) -> query.append(query.length() == 0 ? "" : "&").append(key).append("=").append(text));
        String request = "GET\n/\n" + query + "\nhost:" + url.getHost() + "\n\nhost\n" + EMPTY;
        String names = String.join("/", Arrays.copyOfRange(scope, 1, 5));
        String toSign = "AWS4-HMAC-SHA256\n" + raw.get("X-Amz-Date") + "\n" + names + "\n"
            + HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(request.getBytes(StandardCharsets.UTF_8)));
        byte[] key = ("AWS4" + identity[1]).getBytes(StandardCharsets.UTF_8);
        for (String part : names.split("/")) key = hmac(key, part);
        expect(HexFormat.of().formatHex(hmac(key, toSign)), signature);
        note("took", scope[0] + " " + signature);
        return token(value, scope[0], signed.toEpochMilli(), lifetime);
    }

    private static OAuthBearerToken token(String value, String principal, long start, long lifetime) {
        return new OAuthBearerToken() {
            @Override public String value() { return value; }
            @Override public Set<String> scope() { return Set.of(); }
            @Override public long lifetimeMs() { return lifetime; }
            @Override public String principalName() { return principal; }
            @Override public Long startTimeMs() { return start; }
        };
    }

    private static String decoded(Map<String, String> query, String key) {
        return URLDecoder.decode(query.get(key), StandardCharsets.UTF_8);
    }

    private static byte[] hmac(byte[] key, String text) throws Exception {
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        return mac.doFinal(text.getBytes(StandardCharsets.UTF_8));
    }

    private static void expect(String wanted, String found) {
        if (!wanted.equals(found)) throw new IllegalArgumentException("expected " + wanted + ", found " + found);
    }

    private synchronized void note(String what, String text) {
        try {
            Files.writeString(folder.resolve(what), text + "\n", StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        } catch (java.io.IOException e) {
            throw new IllegalStateException(e);
        }
    }
}
