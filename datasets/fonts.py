"""The fonts that `glyphs` draws (datasets room), by the Debian package that holds them; all are freely licensed.

Chosen for letters that differ: handwriting, print of five centuries, typewriters, shop signs. Each line is a family, a
writer: its package, its folder below /usr/share/fonts, and its files, at most upright, bold, italic and both.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """A family of fonts."""

    package: str
    """The Debian package."""
    files: tuple[str, ...]
    """Paths below /usr/share/fonts."""


def _family(line: str) -> Family:
    package, _, path = line.partition(" ")
    before, _, rest = path.partition("{")
    inside, _, after = rest.partition("}")
    return Family(package, tuple(before + part + after for part in inside.split(",")))


LINES = """
fonts-3270 truetype/3270/3270-Regular.ttf
fonts-adf-accanthis truetype/adf/AccanthisADFStd-{Bold,BoldItalic,Italic,Regular}.otf
fonts-adf-baskervald truetype/adf/BaskervaldADFStd{-Bold,-BoldItalic,-Italic,}.otf
fonts-adf-gillius truetype/adf/GilliusADF-{Bold,BoldItalic,Italic,Regular}.otf
fonts-adf-irianis truetype/adf/IrianisADFStd-{Bold,BoldItalic,Italic,Regular}.otf
fonts-adf-mekanus truetype/adf/MekanusADFStd-{Bold,BoldItalic,Italic,Regular}.otf
fonts-adf-oldania truetype/adf/OldaniaADFStd-{Bold,BoldItalic,Italic,Regular}.otf
fonts-adf-universalis truetype/adf/UniversalisADFStd-{Bold,BoldItalic,Italic,Regular}.otf
fonts-averia-serif-gwf truetype/averia-gwf/AveriaSerifGWF-{Bold,BoldItalic,Italic,Regular}.ttf
fonts-beteckna truetype/beteckna/BetecknaGS{-Bold,-Italic,}.ttf
fonts-breip truetype/breip/{Breip,breipfont}.ttf
fonts-cabin opentype/cabin/Cabin-{Bold,BoldItalic,Italic,Regular}.otf
fonts-cantarell opentype/cantarell/Cantarell-{Bold,Regular}.otf
fonts-cardo truetype/cardo/Cardo{104s,b101,i99}.ttf
fonts-comfortaa truetype/comfortaa/Comfortaa-{Bold,Regular}.ttf
fonts-comic-neue opentype/comic-neue/ComicNeue-{Bold,BoldItalic,Italic,Regular}.otf
fonts-dancingscript opentype/dancingscript/DancingScript-{Bold,Regular}.otf
fonts-dejavu-core truetype/dejavu/DejaVuSans{-Bold,}.ttf
fonts-dejavu-core truetype/dejavu/DejaVuSerif{-Bold,}.ttf
fonts-dkg-handwriting truetype/fifthhorseman/dkg{,BI,Bd,It}.ttf
fonts-dustin truetype/dustin/Domestic_Manners.ttf
fonts-dustin truetype/dustin/It_wasn_t_me.ttf
fonts-dustin truetype/dustin/{Dustismo,dustismo_bold,dustismo_bold_italic,dustismo_italic}.ttf
fonts-essays1743 truetype/essays1743/Essays1743{-Bold,-BoldItalic,-Italic,}.ttf
fonts-eurofurence truetype/eurofurence/eurof{55,56,75,76}.ttf
fonts-fanwood truetype/fanwood/Fanwood{-Italic,}.otf
fonts-femkeklaver truetype/femkeklaver/femkeklaver.ttf
fonts-firacode truetype/firacode/FiraCode-{Bold,Regular}.ttf
fonts-freefont-ttf truetype/freefont/FreeMono{,Bold,BoldOblique,Oblique}.ttf
fonts-georgewilliams truetype/fonts-georgewilliams/Caslon{Bold,Italic,Roman}.ttf
fonts-go fonts-go/Go-{Bold-Italic,Bold,Italic,Regular}.ttf
fonts-goudybookletter opentype/sortsmill/GoudyBookletter1911.otf
fonts-inconsolata truetype/inconsolata/Inconsolata.otf
fonts-isabella truetype/isabella/Isabella.ttf
fonts-joscelyn opentype/joscelyn/Joscelyn-Regular.otf
fonts-junction opentype/junction/Junction.otf
fonts-kaushanscript opentype/kaushanscript/KaushanScript-Regular.otf
fonts-kristi truetype/kristi/Kristi.ttf
fonts-lato truetype/lato/Lato-{Bold,BoldItalic,Italic,Regular}.ttf
fonts-leckerli-one truetype/leckerli-one/LeckerliOne-Regular.ttf
fonts-liberation2 truetype/liberation2/LiberationMono-{Bold,BoldItalic,Italic,Regular}.ttf
fonts-liberation2 truetype/liberation2/LiberationSans-{Bold,BoldItalic,Italic,Regular}.ttf
fonts-liberation2 truetype/liberation2/LiberationSerif-{Bold,BoldItalic,Italic,Regular}.ttf
fonts-linuxlibertine opentype/linux-libertine/LinBiolinum_R{,B,I}.otf
fonts-linuxlibertine opentype/linux-libertine/LinLibertine_R{,B,I,Z}.otf
fonts-lobstertwo opentype/lobstertwo/LobsterTwo-{Bold,BoldItalic,Italic,Regular}.otf
fonts-ocr-a truetype/ocr-a/OCRA.ttf
fonts-okolaks truetype/okolaks/okolaks{Bold,BoldItalic,Regular,RegularItalic}.ttf
fonts-oldstandard truetype/fonts-oldstandard/OldStandard-{Bold,Italic,Regular}.ttf
fonts-open-sans truetype/open-sans/OpenSans-{Bold,BoldItalic,Italic,Regular}.ttf
fonts-opendyslexic opentype/opendyslexic/OpenDyslexic-{Bold,BoldItalic,Italic,Regular}.otf
fonts-play opentype/play/Play-{Bold,Regular}.otf
fonts-quattrocento opentype/quattrocento/Quattrocento-Regular.otf
fonts-quicksand truetype/quicksand/Quicksand-{Bold,Regular}.ttf
fonts-roboto-unhinted truetype/roboto/unhinted/RobotoTTF/Roboto-{Bold,BoldItalic,Italic,Regular}.ttf
fonts-rufscript truetype/rufscript/Rufscript010.ttf
fonts-sil-gentium-basic truetype/gentium-basic/GenBas{B,BI,I,R}.ttf
fonts-staypuft truetype/staypuft/StayPuft.ttf
fonts-summersby truetype/summersby/summersby.ttf
fonts-tuffy truetype/tuffy/{Tuffy,Tuffy_Bold,Tuffy_Italic,tuffy_bold}.ttf
fonts-yanone-kaffeesatz opentype/yanone-kaffeesatz/YanoneKaffeesatz-{Bold,Regular}.otf
"""
FAMILIES = tuple(map(_family, LINES.strip().splitlines()))
"""The writers, in the order of their numbers."""
