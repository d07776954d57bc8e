// An Android library module: include(":nano-banana-android") in the app's settings.gradle.kts.
plugins {
    id("com.android.library")
    // Android Gradle plugin 9 compiles Kotlin itself; an older one needs id("org.jetbrains.kotlin.android") here
}

android {
    namespace = "nanoedge.banana"
    compileSdk = 36

    defaultConfig {
        minSdk = 26
        consumerProguardFiles("consumer-rules.pro")
        testInstrumentationRunner = "androidx.test.runner.AndroidJUnitRunner"
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
    // the golden vectors serve the unit tests on the computer and the instrumented test on the device
    sourceSets {
        getByName("test") {
            kotlin.directories += "src/sharedTest/kotlin"
            resources.directories += setOf("golden", "src/main/assets")
        }
        getByName("androidTest") {
            kotlin.directories += "src/sharedTest/kotlin"
            assets.directories += "golden"
        }
    }
}

dependencies {
    implementation("com.google.ai.edge.litert:litert:2.1.5")
    implementation("org.jetbrains.kotlinx:kotlinx-coroutines-android:1.9.0")

    testImplementation("junit:junit:4.13.2")
    androidTestImplementation("junit:junit:4.13.2")
    androidTestImplementation("androidx.test:runner:1.6.2")
    androidTestImplementation("androidx.test.ext:junit:1.2.1")
    androidTestImplementation("org.jetbrains.kotlinx:kotlinx-coroutines-android:1.9.0")
}
