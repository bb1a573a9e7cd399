"""What is said and when: words of real languages with the times of their syllables."""

import re
from collections.abc import Sequence

import numpy as np

from coeval_training.scenes.latent import LATENT_HZ, Array, Sentence, Word

VOCABULARY = {
    "en": "the a and to of is it that you we they he was for on are with have this not but what "
    "all when can there use each which do how if will up other about out many then them these so "
    "some her would make like him into time has look two more write go see number no way could "
    "people my than first water been call who oil its now find long down day did get come made "
    "may part over sound take only little work know place year live me back give most very after "
    "thing our just name good sentence man think say great where help through much before line "
    "right too mean old any same tell boy follow came want show also around form three small set "
    "put end does another well large must big even such because turn here why ask went men read "
    "need land different home us move try kind hand picture again change off play spell air away "
    "animal house point page letter mother answer found study still learn should America world "
    "machine camera recording synchronise experiment definitely yesterday company afternoon "
    "information important remember together probably really question problem understand "
    "government university development station green blue red white bin lay place now please soon",
    "de": "der die das und ist nicht ich sie es wir haben werden können auch mit auf für von zu "
    "einen eine noch nach wenn aber dann jetzt hier immer vielleicht natürlich zusammen arbeiten "
    "morgen gestern heute Maschine Kamera Aufnahme Entwicklung Zeit Jahr Frage Problem verstehen "
    "machen sagen gehen kommen sehen wissen gut schön klein groß wieder überhaupt eigentlich",
    "fr": "le la les un une et est pas je tu il nous vous ils avec pour dans sur que qui mais donc "
    "maintenant toujours peut-être demain hier machine caméra chanson française faim aubergine "
    "s'il vous plaît merci beaucoup travailler comprendre question problème année temps petit "
    "grande encore jamais quelque chose parler écouter regarder enregistrement",
    "es": "el la los una y es no yo tú él nosotros con para en que pero entonces ahora siempre "
    "quizás mañana ayer máquina cámara grabación trabajo entender pregunta problema año tiempo "
    "pequeño grande todavía nunca algo hablar escuchar mirar gracias casa ciudad amigo",
}
"""Everyday words by language; which words matters less than their lengths."""

_VOWELS = re.compile(r"[aeiouyäöüàâéèêëîïôùûáíóú]+", re.IGNORECASE)


def num_syllables(word: str) -> int:
    """About how many syllables a word has: its groups of vowels, without a silent final e."""
    bare = word[:-1] if len(word) > 3 and word.endswith("e") else word
    return max(1, len(_VOWELS.findall(bare)))


def converse(
    rng: np.random.Generator,
    spans: Sequence[tuple[float, float, float]],
    *,
    speakers: int,
    main_share: float,
    language: str,
) -> list[Sentence]:
    """Fill spans of time with sentences of 1–6 s and gaps of 0.2–4 s between them.

    Speaker 0 holds `main_share` of the sentences; now and then the next speaker begins before
    the last one has ended.
    """
    words = VOCABULARY[language].split()
    rates = rng.uniform(3.2, 6.2, speakers)
    gap = rng.uniform(0.25, 1.2)
    sentences = []
    for start, end, _ in spans:
        t = start
        while t < end - 0.4:
            speaker = 0 if rng.random() < main_share else int(rng.integers(0, speakers))
            target = min(float(rng.uniform(0.8, 6.0)), end - t)
            sentence = _sentence(rng, words, speaker, t, target, float(rates[speaker]))
            sentences.append(sentence)
            pause = float(np.clip(rng.lognormal(np.log(gap), 0.7), 0.15, 4.0))
            interrupts = speakers > 1 and rng.random() < 0.06
            t = sentence.t_end_s + (-0.5 if interrupts else pause)
    return sentences


def _sentence(
    rng: np.random.Generator,
    words: Sequence[str],
    speaker: int,
    start: float,
    length: float,
    syllables_per_s: float,
) -> Sentence:
    """One sentence of about this length, at least one word."""
    spoken: list[Word] = []
    t = start
    while not spoken or t - start < length:
        text = words[int(rng.integers(len(words)))]
        syllables = []
        for number in range(num_syllables(text)):
            stress = (
                rng.uniform(0.65, 1.0) if number == 0 and len(text) > 3 else rng.uniform(0.3, 0.8)
            )
            duration = float(np.clip(rng.lognormal(-0.05, 0.3), 0.45, 2.2)) / syllables_per_s
            duration *= 0.8 + 0.35 * stress
            syllables.append((t, duration, float(stress)))
            t += duration
        spoken.append(Word(t_s=syllables[0][0], t_end_s=t, text=text, syllables=tuple(syllables)))
        if rng.random() < 0.08:
            t += float(rng.uniform(0.1, 0.35))
    return Sentence(speaker=speaker, words=tuple(spoken))


def loudness(sentences: Sequence[Sentence], n: int, speaker: int | None = None) -> Array:
    """How loud the voices are, 0…1 on the latent grid, of one speaker or all.

    Each syllable is a bump with a quick rise and a slower fall, its height the stress; it runs
    on into the next one a little.
    """
    level = np.zeros(n, dtype=np.float32)
    for sentence in sentences:
        if speaker is not None and sentence.speaker != speaker:
            continue
        for word in sentence.words:
            for t, duration, stress in word.syllables:
                a = max(0, round(t * LATENT_HZ))
                b = min(n, a + max(2, round(1.12 * duration * LATENT_HZ)))
                tau = (np.arange(b - a) + 0.5) / max(b - a, 1)
                bump = stress * np.sin(np.pi * tau**0.75) ** 0.8
                level[a:b] = np.maximum(level[a:b], bump)
    return level
